//! Cuts the code of a twin out of the source that was compiled, so that slide
//! and program cannot drift apart.
//!
//! A twin stands between the lines `// [broken]` and `// [/broken]`, or
//! `[fixed]`; work that both do may stand between `[work]` marks. The guilty line ends with [`CULPRIT_MARK`], which stays visible on
//! the slide; the line that spawns the broken twin's task ends with
//! [`SPAWN_MARK`].

/// Ends the guilty line of the broken twin.
pub(crate) const CULPRIT_MARK: &str = "// <- culprit";

/// Ends the line that spawns the task of the broken twin.
pub(crate) const SPAWN_MARK: &str = "// <- spawned here";

/// A marked part of a source file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its lines without common indentation and without tool attributes.
    pub(crate) text: String,
    /// First and last line, from 1, without the marks.
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// The part between `// [name]` and `// [/name]`, `None` without both marks.
pub(crate) fn section(source: &str, name: &str) -> Option<Section> {
    let begin = line_of(source, |line| line == format!("// [{name}]"))?;
    let end = line_of(source, |line| line == format!("// [/{name}]"))?;
    let lines: Vec<&str> = source
        .lines()
        .take(end as usize - 1)
        .skip(begin as usize)
        .collect();
    let indent = lines
        .iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start().len())
        .min()
        .unwrap_or(0);
    let text = lines
        .iter()
        .filter(|line| !line.trim_start().starts_with("#["))
        .map(|line| line.get(indent..).unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    Some(Section {
        text,
        first: begin + 1,
        last: end - 1,
    })
}

/// The first line that ends with `mark`, from 1.
pub(crate) fn marked(source: &str, mark: &str) -> Option<u32> {
    line_of(source, |line| line.ends_with(mark))
}

fn line_of(source: &str, is_it: impl Fn(&str) -> bool) -> Option<u32> {
    source
        .lines()
        .position(|line| is_it(line.trim()))
        .map(|index| index as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "use x;\n// [broken]\n    #[inline(never)]\n    fn a() {\n        \
                          b(); // <- culprit\n    }\n// [/broken]\n";

    #[test]
    fn a_section_loses_indentation_and_attributes_but_keeps_its_lines() {
        assert_eq!(
            section(SOURCE, "broken"),
            Some(Section {
                text: "fn a() {\n    b(); // <- culprit\n}".into(),
                first: 3,
                last: 6,
            })
        );
        assert_eq!(section(SOURCE, "fixed"), None);
    }

    #[test]
    fn a_mark_is_found_by_its_line() {
        assert_eq!(marked(SOURCE, CULPRIT_MARK), Some(5));
        assert_eq!(marked(SOURCE, SPAWN_MARK), None);
    }
}
