//! Who holds what a queue of tasks waits for, and what they wait for themselves.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    diagnose::{
        rules::chains::{Name, Spot, name, several, spot, who},
        waits::{Graph, Party, kind, waited, waits_text},
        words::{conjugated, count, human},
    },
    model::{HoldRole, Model, ResourceKind},
};

/// "its 5 are held by 5 tasks in `shop::report`, which wait for socket 10.0.0.9:5432 to read
/// (src/report.rs:77), up to 11.0 s"; `None` where nobody is known to hold any.
pub(in crate::diagnose::rules) fn sentence(
    model: &Model,
    graph: &Graph,
    resource: u64,
) -> Option<String> {
    let holders = graph.holders(resource).iter();
    let holders: Vec<_> = holders
        .filter(|holder| !holder.is_queued)
        .filter_map(|holder| {
            let hold = holder.hold.filter(|hold| hold.role == HoldRole::Permits)?;
            Some((holder.party, hold))
        })
        .collect();
    let (first, _) = holders.first()?;
    let sure = if holders.iter().all(|(_, hold)| hold.certain) {
        ""
    } else {
        "probably "
    };
    let permits = holders.iter().fold(0_u64, |sum, (_, hold)| {
        sum.saturating_add(hold.amount.max(1))
    });
    let what = match (kind(model, resource), permits) {
        (ResourceKind::Semaphore, 1) => "its permit is".to_owned(),
        (ResourceKind::Semaphore, n) => format!("its {n} are"),
        (ResourceKind::RwLock, n) if n > 1 && holders.len() as u64 == n => {
            format!("its {n} readers are")
        }
        _ => "it is".to_owned(),
    };
    let held = if what.ends_with("readers are") {
        String::new()
    } else {
        format!("{sure}held by ")
    };
    // Those that wait alike are named together, the most of them first.
    let mut alike: BTreeMap<(Name, Spot), Vec<Party>> = BTreeMap::new();
    for (party, _) in &holders {
        let at = spot(model, *party);
        alike
            .entry((name(model, *party), at))
            .or_default()
            .push(*party);
    }
    let most = alike
        .iter()
        .max_by_key(|((_, _), parties)| (parties.len(), parties.contains(first)))?;
    let ((name, at), parties) = most;
    let whom = match parties.as_slice() {
        [one] => who(model, *one),
        all => several(all.len() as u64, name),
    };
    let doing = doing(model, parties, at);
    let others = match (holders.len() - parties.len()) as u64 {
        0 => String::new(),
        n if doing.is_empty() => format!(" and {}", count(n, "other")),
        n => format!(", and {}", count(n, "other")),
    };
    Some(format!("{what} {held}{whom}{doing}{others}"))
}

/// ", which wait for socket 10.0.0.9:5432 to read (src/report.rs:77), up to 11.0 s".
fn doing(model: &Model, parties: &[Party], at: &Spot) -> String {
    let waits = parties.iter().filter_map(|party| match party {
        Party::Task(id) => model.waits.task(*id),
        Party::Thread(_) => None,
    });
    let waits: Vec<_> = waits.collect();
    let Some(first) = waits.first() else {
        return String::new();
    };
    let place = match at.text(model) {
        text if text.is_empty() => text,
        text => format!(" ({text})"),
    };
    let for_now: Vec<Duration> = waits
        .iter()
        .filter_map(|wait| waited(model, wait))
        .collect();
    let longest = for_now.iter().max().copied();
    let since = match (longest, waits.len()) {
        (None, _) => String::new(),
        (Some(longest), 1) => format!(" for {}", human(longest)),
        (Some(longest), _) => format!(", up to {}", human(longest)),
    };
    format!(
        ", which {} for {}{place}{since}",
        conjugated(waits.len() as u64, "wait"),
        waits_text(model, first)
    )
}
