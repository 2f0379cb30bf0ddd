//! Which target is meant where a call names none.

use crate::source::{
    self, Target,
    processes::{At, Lister, Listing, Row},
};

use super::{Otherwise, answer::Failure};

/// Targets that are named where one must be chosen.
const NAMED: usize = 8;

/// Whether an assistant may be sent there: to this machine, and to what the user named.
/// Text that it reads may ask it for anything.
fn may_attach(target: &Target, otherwise: &Otherwise) -> bool {
    let (Otherwise::Named(own) | Otherwise::FoundAt(own)) = otherwise;
    target.is_local() || own.parse::<Target>().is_ok_and(|own| own == *target)
}

/// The target of a call.
pub(super) async fn target(
    named: Option<&str>,
    otherwise: &Otherwise,
) -> Result<(String, Target), Failure> {
    let parse = |name: &str| {
        let target = name.parse::<Target>();
        let target = target.map_err(|error| Failure::new(error.to_string()))?;
        if may_attach(&target, otherwise) {
            return Ok((name.to_owned(), target));
        }
        Err(Failure::new(format!(
            "{target} is on another machine, and was not named by the user: start the server \
             as `looptop mcp {target}` to look at it"
        )))
    };
    match (named, otherwise) {
        (Some(name), _) => parse(name),
        (None, Otherwise::Named(name)) => parse(name),
        (None, Otherwise::FoundAt(place)) => {
            let (name, target) = parse(place)?;
            if source::is_listening(&target).await {
                return Ok((name, target));
            }
            let target = only(&Lister::default().list().await, place)?;
            Ok((target.to_string(), target))
        }
    }
}

/// The only program that can be attached to.
fn only(listing: &Listing, place: &str) -> Result<Target, Failure> {
    let target = |row: &Row| match &row.at {
        At::Target(target) => Some(target.clone()),
        At::Refused(_) | At::Nowhere(_) => None,
    };
    let targets: Vec<(&Row, Target)> = listing
        .rows
        .iter()
        .filter_map(|row| Some((row, target(row)?)))
        .collect();
    match targets.as_slice() {
        [(_, target)] if listing.unread == 0 => Ok(target.clone()),
        [] => Err(Failure::new(format!(
            "no target was named, nothing listens at {place}, and no tokio program of this \
             machine can be attached to: start one, or name a target as HOST:PORT, unix:PATH, \
             pid:N, core:FILE or the path of a recording; `targets` says why others cannot be \
             attached to"
        ))),
        several => {
            let names = several.iter().take(NAMED);
            let names: Vec<String> = names
                .map(|(row, at)| format!("{at} ({})", row.name))
                .collect();
            let more = match several.len().saturating_sub(NAMED) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            Err(Failure::new(format!(
                "no target was named, and there are several: {}{more}; give one of them as `target`",
                names.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(targets: &[&str]) -> Listing {
        let row = |target: &&str| Row {
            pid: 7,
            name: "shop".into(),
            arguments: "--password=x".into(),
            user: "root".into(),
            instrument: "looptop-agent".into(),
            threads: 3,
            cpu: None,
            at: target
                .parse()
                .map_or(At::Nowhere("no answer".into()), At::Target),
        };
        Listing {
            rows: targets.iter().map(row).collect(),
            unread: 0,
        }
    }

    #[tokio::test]
    async fn other_machines_are_looked_at_only_where_the_user_names_them() {
        let own = Otherwise::Named("app.example:6669".into());
        let refused = target(Some("evil.example:6669"), &own).await.unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("`looptop mcp evil.example:6669`"),
            "{refused}"
        );
        for named in [
            None,
            Some("http://app.example:6669"),
            Some("127.0.0.1:7"),
            Some("pid:7"),
        ] {
            assert!(target(named, &own).await.is_ok(), "{named:?}");
        }
        let found = Otherwise::FoundAt("127.0.0.1:6669".into());
        assert!(target(Some("app.example:6669"), &found).await.is_err());
    }

    #[test]
    fn the_only_one_is_meant_and_several_are_named() {
        assert_eq!(
            only(&listing(&["pid:7", "ftp://x"]), "here").unwrap(),
            Target::Process(7)
        );
        let several = only(&listing(&["pid:7", "pid:8"]), "here").unwrap_err();
        let several = several.to_string();
        assert!(several.contains("pid:7 (shop), pid:8 (shop)"), "{several}");
        assert!(!several.contains("password"), "{several}");
        let none = only(&listing(&["ftp://x"]), "here")
            .unwrap_err()
            .to_string();
        assert!(none.contains("nothing listens at here"), "{none}");
        let mut unread = listing(&["pid:7"]);
        unread.unread = 1;
        assert!(only(&unread, "here").is_err());
    }
}
