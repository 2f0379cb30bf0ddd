//! `looptop ls`.

use std::fmt::Write;

use super::{
    lister::{Lister, Listing},
    row::Row,
};
use crate::escape::escaped;

/// The applications as a table for people. As long as the slowest answer, at
/// most two seconds; Linux only.
pub async fn table() -> String {
    if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
        return "looptop ls reads Linux's procfs, which this system does not have\n".to_owned();
    }
    let Listing { rows, unread } = Lister::default().list().await;
    let mut text = if rows.is_empty() {
        "no tokio program runs here (or none that this user may see); \
         `looptop run -- CMD` starts one, `looptop demo` starts the lab\n"
            .to_owned()
    } else {
        format(&rows)
    };
    if unread > 0 {
        let are = if unread == 1 {
            "program is"
        } else {
            "programs are"
        };
        let _ = writeln!(
            text,
            "{unread} more {are} not looked at: reading would have taken too long; \
             the next time it is faster"
        );
    }
    text
}

/// The rows in columns as wide as what stands in them; nothing is cut.
fn format(rows: &[Row]) -> String {
    let heads = ["PID", "NAME", "INSTRUMENT", "TARGET"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let at = row.at.to_string();
        let text = [&row.name, &row.instrument, &at].map(|text| escaped(text).into_owned());
        let [name, instrument, at] = text;
        [row.pid.to_string(), name, instrument, at]
    });
    let lines: Vec<[String; 4]> = std::iter::once(heads).chain(cells).collect();
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let [pids, names, instruments] = [0, 1, 2].map(width);
    let mut text = String::new();
    for [pid, name, instrument, at] in &lines {
        let _ = writeln!(
            text,
            "{pid:>pids$}  {name:<names$}  {instrument:<instruments$}  {at}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::processes::At;

    #[test]
    fn names_are_whole_and_columns_stand() {
        let row = |pid, name: &str, instrument: &str, at: At| Row {
            pid,
            name: name.into(),
            arguments: String::new(),
            user: "root".into(),
            instrument: instrument.into(),
            threads: 3,
            cpu: None,
            at,
        };
        let target = |text: &str| At::Target(text.parse().unwrap());
        let rows = [
            row(
                7,
                "a-name-longer-than-any-column",
                "looptop-agent",
                target("6669"),
            ),
            row(
                1_234_567,
                "b\x1b[2J",
                "console-subscriber",
                target("unix:/run/b.sock"),
            ),
            row(
                9,
                "c",
                "looptop-agent",
                At::Nowhere("no answer within 1 s".into()),
            ),
            row(11, "mini-redis-server", "tokio 1.54.1", target("pid:11")),
        ];
        insta::assert_snapshot!(format(&rows), @r"
            PID  NAME                           INSTRUMENT          TARGET
              7  a-name-longer-than-any-column  looptop-agent       127.0.0.1:6669
        1234567  b\u{1b}[2J                     console-subscriber  unix:/run/b.sock
              9  c                              looptop-agent       no answer within 1 s
             11  mini-redis-server              tokio 1.54.1        pid:11
        ");
    }
}
