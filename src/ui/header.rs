//! Who is observed, and whether what one sees is live.
//!
//! ```text
//!  looptop  lab 127.0.0.1:6669  pid 4211  up 02:13   ● LIVE   4 workers   agent 0.1 · tokio 1.54
//! ```

use std::{
    borrow::Cow,
    time::{Duration, Instant, UNIX_EPOCH},
};

use ratatui::layout::Rect;

use crate::{
    app::{Connection, State, Tone, quantity},
    model::SourceKind,
};

use super::Painter;

pub(super) type Piece = (Cow<'static, str>, Tone);

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let badge = badge(state);
    let (mut left, right) = (identity(state), versions(state));
    let width = |pieces: &[Piece]| {
        pieces
            .iter()
            .map(|(text, _)| text.chars().count())
            .sum::<usize>()
    };
    let room = usize::from(area.width);
    // What matters least goes first on a narrow screen: versions, then that it is seen
    // from outside, then uptime and pid, then the address. The badge stays.
    let fits = |right: &Vec<Piece>| width(&left) + width(&badge) + width(right) + 4 <= room;
    let from_outside = outside(state.model()).map(|text| vec![(text.into(), Tone::Dim)]);
    let mut rights = std::iter::once(right).chain(from_outside);
    let right = rights.find(fits).unwrap_or_default();
    while left.len() > 2 && width(&left) + width(&badge) + 4 > room {
        left.pop();
    }
    let badge_width = width(&badge) as u16;
    let left_area = Rect {
        width: area
            .width
            .saturating_sub(badge_width.min(area.width / 2) + 2),
        ..area
    };
    let x = area.x + painter.pieces(left_area, left) + 2;
    let rest = Rect {
        x,
        width: area.right().saturating_sub(x),
        ..area
    };
    let x = x + painter.pieces(rest, badge) + 2;
    let rest = Rect {
        x,
        width: area.right().saturating_sub(x),
        ..area
    };
    painter.pieces(rest, right);
}

/// "2026-11-27 03:12:40 UTC".
fn wall_clock(unix_ns: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_nanos(unix_ns);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    text.replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

fn identity(state: &State) -> Vec<Piece> {
    let session = &state.model().session;
    let mut pieces: Vec<Piece> = vec![(" looptop".into(), Tone::Title)];
    let target = match session.name.as_str() {
        "" => format!("  {}", state.options.target),
        name => format!("  {name} {}", state.options.target),
    };
    pieces.push((
        crate::escape::escaped(target.trim_end())
            .into_owned()
            .into(),
        Tone::Strong,
    ));
    let said = |pid: &u32| state.options.target == format!("pid:{pid}");
    if let Some(pid) = session.pid.filter(|pid| !said(pid)) {
        pieces.push((format!("  pid {pid}").into(), Tone::Text));
    }
    if session.core_dump {
        let written = wall_clock(session.started_unix_ns.saturating_add(state.model().now.0));
        pieces.push((format!("  core dump of {written}").into(), Tone::Text));
    } else if state.model().since.is_some() {
        let uptime = quantity::clock(session.uptime(state.model().now));
        pieces.push((format!("  up {uptime}").into(), Tone::Text));
    }
    pieces
}

fn versions(state: &State) -> Vec<Piece> {
    let model = state.model();
    let mut pieces = Vec::new();
    let mut add = |text: String, tone| pieces.push((text.into(), tone));
    if !model.workers.is_empty() {
        add(
            format!(
                " {} ",
                quantity::plural(model.workers.len() as u64, model.worker_noun())
            ),
            Tone::Text,
        );
    }
    let (agent, tokio) = (&model.session.agent_version, &model.session.tokio_version);
    let known =
        |name: &str, version: &str| (!version.is_empty()).then(|| format!("{name} {version}"));
    let kind = state.source.map(|kind| kind.to_string());
    // An agent says its version itself.
    let source = known("agent", agent).or_else(|| match (outside(model), kind) {
        (Some(outside), Some(kind)) if !model.is_outside() => Some(format!("{kind} + {outside}")),
        (outside, kind) => outside.or(kind),
    });
    let text: Vec<String> = [source, known("tokio", tokio)]
        .into_iter()
        .flatten()
        .collect();
    add(
        format!(" {}", crate::escape::escaped(&text.join(" · "))),
        Tone::Dim,
    );
    pieces
}

/// The view from outside, with what it costs: "outside, 2.1% of a core".
fn outside(model: &crate::model::Model) -> Option<String> {
    let outside = model.outside.as_ref()?;
    let cost = outside
        .cpu_ratio()
        .map(|share| format!(", {:.1}% of a core", share * 100.0));
    Some(format!("outside{}", cost.unwrap_or_default()))
}

/// A core dump is shown, or read to be shown.
pub(super) fn is_of_core(state: &State) -> bool {
    state.source == Some(SourceKind::Core)
        || (state.source.is_none() && state.options.target.starts_with("core:"))
}

/// The state of the connection; a frozen screen has its own badge before it.
fn badge(state: &State) -> Vec<Piece> {
    let seconds = |since| {
        let age = state.now.saturating_duration_since(since);
        format!("{} s", age.as_secs())
    };
    let mut pieces: Vec<Piece> = Vec::new();
    if let Some(since) = state.recording {
        pieces.push((format!("● REC {}", seconds(since)).into(), Tone::BadgeLost));
        pieces.push(("  ".into(), Tone::Text));
    }
    if let Some(player) = &state.player {
        let text = match state.connection {
            Connection::Ended => "■ REPLAY, at its end",
            _ if player.playing => "▶ REPLAY",
            _ => "‖ REPLAY, held",
        };
        pieces.push((text.into(), Tone::BadgeFrozen));
        if matches!(state.connection, Connection::Live | Connection::Ended) {
            return pieces;
        }
        pieces.push(("  ".into(), Tone::Text));
    }
    if let Some(frozen) = &state.frozen {
        let text = match state.behind() {
            Some(behind) => format!("‖ PAST {:.1} s ago", behind.as_secs_f64()),
            None => format!("‖ FROZEN {}", seconds(frozen.at)),
        };
        pieces.push((text.into(), Tone::BadgeFrozen));
        if state.connection == Connection::Live {
            return pieces;
        }
        pieces.push(("  ".into(), Tone::Text));
    }
    pieces.push(standing(&state.connection, is_of_core(state), state.now));
    pieces
}

/// What a connection does; `reads` a core dump, of which nothing is live.
pub(super) fn standing(connection: &Connection, reads: bool, now: Instant) -> Piece {
    let seconds = |since: &Instant| now.saturating_duration_since(*since).as_secs();
    match connection {
        Connection::Connecting { problem: None, .. }
        | Connection::Silent { .. }
        | Connection::Live
            if reads =>
        {
            ("◌ READING".into(), Tone::BadgeFrozen)
        }
        Connection::Connecting { attempt: 0 | 1, .. } => ("◌ CONNECTING".into(), Tone::BadgeLost),
        Connection::Connecting { attempt, .. } => (
            format!("◌ CONNECTING (attempt {attempt})").into(),
            Tone::BadgeLost,
        ),
        Connection::Live => ("● LIVE".into(), Tone::BadgeLive),
        Connection::Silent { since, .. } => (
            format!("◌ SILENT {} s", seconds(since)).into(),
            Tone::BadgeLost,
        ),
        Connection::Paused { since, .. } => (
            format!("‖ PAUSED {} s", seconds(since)).into(),
            Tone::BadgeFrozen,
        ),
        Connection::Lost { retry_at: None, .. } => ("✖ LOST".into(), Tone::BadgeLost),
        Connection::Lost {
            retry_at: Some(at), ..
        } => {
            let wait = at.saturating_duration_since(now).as_secs_f64();
            (
                format!("✖ LOST, retry in {wait:.1} s").into(),
                Tone::BadgeLost,
            )
        }
        Connection::Ended if reads => ("■ CORE".into(), Tone::BadgeFrozen),
        Connection::Ended => ("■ END".into(), Tone::BadgeFrozen),
    }
}
