//! How well a text matches what was typed: each word of it, letter by letter, with gaps.

/// Points for a letter that begins a word, that begins the text, that follows the one
/// before, that is there.
const BEGINS: u32 = 8;
const BEGINS_ALL: u32 = 12;
const FOLLOWS: u32 = 5;
const IS_THERE: u32 = 1;

/// How well `text` matches: the more, the better; `None` where letters are missing. What
/// begins words and stands together counts most; case does not count.
pub(super) fn score(text: &str, typed: &str) -> Option<u32> {
    let text: Vec<char> = text.chars().flat_map(char::to_lowercase).collect();
    let words = typed.split_whitespace();
    words.map(|word| best(&text, word)).sum()
}

/// The best of the places at which a word may begin.
fn best(text: &[char], word: &str) -> Option<u32> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    let starts = (0..text.len()).filter(|at| Some(&text[*at]) == word.first());
    starts.filter_map(|at| from(text, &word, at)).max()
}

fn from(text: &[char], word: &[char], start: usize) -> Option<u32> {
    let begins = |at: usize| at == 0 || !text[at - 1].is_alphanumeric();
    let (mut at, mut last, mut points) = (start, None, 0);
    for letter in word {
        while text.get(at)? != letter {
            at += 1;
        }
        points += match last {
            _ if at == 0 => BEGINS_ALL,
            _ if begins(at) => BEGINS,
            Some(last) if last + 1 == at => FOLLOWS,
            _ => IS_THERE,
        };
        last = Some(at);
        at += 1;
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_comes_first() {
        let texts = [
            "page-down",
            "sort-next",
            "next-view",
            "save-screen",
            "theme-next",
        ];
        for (typed, expected) in [
            ("pd", "page-down"),
            ("next", "next-view"),
            ("nv", "next-view"),
            ("NEXT sort", "sort-next"),
            ("svscr", "save-screen"),
            ("tn", "theme-next"),
        ] {
            let best = texts.iter().rev().max_by_key(|text| score(text, typed));
            assert_eq!(best, Some(&expected), "{typed}");
        }
        assert_eq!(score("page-down", "px"), None);
        assert_eq!(score("page-down", "dp"), None, "in this order");
        assert_eq!(score("", "a"), None);
        assert_eq!(score("anything", "  "), Some(0));
    }
}
