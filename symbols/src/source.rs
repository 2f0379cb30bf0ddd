//! The function around a line, by the source itself.

use std::fs;
use std::path::Path;

/// The function at a line of a source that is as old as the binary, or older.
pub(super) fn read_function(source: &str, binary: &Path, line: u32) -> Option<String> {
    const MAX_SOURCE: u64 = 4 << 20;
    let path = Path::new(source);
    let found = fs::metadata(path).ok()?;
    let built = fs::metadata(binary).ok()?.modified().ok()?;
    if !path.is_absolute()
        || !found.is_file()
        || found.len() > MAX_SOURCE
        || found.modified().ok()? > built
    {
        return None;
    }
    function_at(&fs::read_to_string(path).ok()?, line)
}

/// The name of the function that a line stands in: the nearest `fn` above it that
/// is indented less, as rustfmt writes code.
fn function_at(source: &str, line: u32) -> Option<String> {
    let indent = |text: &str| text.len() - text.trim_start().len();
    let lines: Vec<&str> = source.lines().take(line as usize).collect();
    let mut depth = indent(lines.get((line as usize).checked_sub(1)?)?);
    for text in lines.iter().rev().skip(1) {
        if text.trim().is_empty() || indent(text) >= depth {
            continue;
        }
        if let Some(name) = name_in(text) {
            return Some(name);
        }
        // The lines of a signature that was too long for one begin at the depth
        // of their `fn`: `) -> u32 {`.
        let ends_signature = text.trim_end().ends_with('{')
            && [")", "{", "where"]
                .iter()
                .any(|start| text.trim_start().starts_with(start));
        depth = if ends_signature {
            indent(text) + 1
        } else {
            indent(text)
        };
    }
    None
}

/// `pub(crate) async fn handler<T>(` names `handler`.
fn name_in(text: &str) -> Option<String> {
    let code = text.split("//").next().unwrap_or_default();
    let mut words = code.split_whitespace();
    words.find(|word| *word == "fn")?;
    let name = words.next()?;
    let end = name
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(name.len());
    (end > 0).then(|| name[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_function_outside() {
        let source = "\
impl Server {
    /// Not fn this.
    pub async fn run(&self) {
        loop {
            tokio::spawn(async move {
                fn inner() {
                    work();
                }
                serve().await;
            });
        }
    }

    async fn answer<T>(
        &self,
        of: T,
    ) -> u32 {
        blocks(of)
    }
}
";
        for (line, expected) in [
            (7, Some("inner")),
            (9, Some("run")),
            (4, Some("run")),
            (18, Some("answer")),
            (1, None),
            (99, None),
        ] {
            assert_eq!(
                function_at(source, line).as_deref(),
                expected,
                "line {line}"
            );
        }
    }
}
