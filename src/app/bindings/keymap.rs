//! The keys that a configuration binds otherwise: `[keys]`, by the names of actions.

use std::{collections::BTreeMap, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use toml::Spanned;

use crate::app::{Key, picker, several};

use super::{Binding, Where, all};

/// The keys of some actions; all others have those of the tables.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Keymap(BTreeMap<&'static str, Spanned<Vec<Key>>>);

impl Eq for Keymap {}

/// A key that two actions have where both can be meant, or that cannot be a key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongKeys {
    /// The key.
    pub key: Key,
    /// The action to which the configuration binds it, and where in the file.
    pub bound: (&'static str, Range<usize>),
    /// What is in the way.
    pub why: InTheWay,
}

/// Why a key cannot stand for an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InTheWay {
    /// Another action has it, to which it was bound there in the file, or by default.
    Action(&'static str, Option<Range<usize>>),
    /// It is typed as text there.
    Text,
}

impl WrongKeys {
    /// A sentence with the lines of `text`, the file.
    pub fn sentence(&self, text: &str) -> String {
        let line = |span: &Range<usize>| {
            let before = text.get(..span.start).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        let (key, (name, span)) = (self.key.word(), &self.bound);
        let here = line(span);
        match &self.why {
            InTheWay::Text => format!(
                "line {here}: {name} cannot be bound to {key}, which is text where {name} is \
                 used; bind it to a key that types nothing, such as Ctrl-{}",
                key.to_ascii_uppercase()
            ),
            InTheWay::Action(other, Some(span)) => format!(
                "lines {here} and {}: {key} is bound to {name} and to {other}; give one of \
                 them another key",
                line(span)
            ),
            InTheWay::Action(other, None) => format!(
                "line {here}: {key} is bound to {name}, and by default to {other}; give one of \
                 them another key, or {other} none: {other} = []"
            ),
        }
    }
}

impl Keymap {
    /// Nothing is bound otherwise.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys of a binding.
    pub fn of(&self, binding: &'static Binding) -> &[Key] {
        self.keys(binding.name, binding.keys)
    }

    /// The keys of the action of this name, which has `default` otherwise.
    pub fn keys<'a>(&'a self, name: &str, default: &'a [Key]) -> &'a [Key] {
        self.0
            .get(name)
            .map_or(default, |keys| keys.get_ref().as_slice())
    }

    /// What of it contradicts itself or the keys that were left as they are.
    pub fn check(&self) -> Result<(), WrongKeys> {
        let bindings: Vec<&Binding> = all().collect();
        for (n, one) in bindings.iter().enumerate() {
            self.check_typed(one)?;
            for other in &bindings[n + 1..] {
                if one.name != other.name && one.at.meets(other.at) {
                    self.apart((one.name, one.keys), (other.name, other.keys))?;
                }
            }
        }
        let of_picker = picker::KEYS.iter().map(|bound| (bound.name, bound.keys));
        self.all_apart(&of_picker.collect::<Vec<_>>())?;
        let of_several = several::KEYS.iter().map(|bound| (bound.name, bound.keys));
        self.all_apart(&of_several.collect::<Vec<_>>())
    }

    fn all_apart(&self, keys: &[(&'static str, &'static [Key])]) -> Result<(), WrongKeys> {
        for (n, one) in keys.iter().enumerate() {
            for other in &keys[n + 1..] {
                self.apart(*one, *other)?;
            }
        }
        Ok(())
    }

    fn check_typed(&self, binding: &Binding) -> Result<(), WrongKeys> {
        let Some(keys) = self.0.get(binding.name) else {
            return Ok(());
        };
        let typed = keys.get_ref().iter().find(|k| matches!(k, Key::Char(_)));
        match typed.filter(|_| binding.at.takes_text()) {
            Some(key) => Err(WrongKeys {
                key: *key,
                bound: (binding.name, keys.span()),
                why: InTheWay::Text,
            }),
            None => Ok(()),
        }
    }

    fn apart(
        &self,
        one: (&'static str, &[Key]),
        other: (&'static str, &[Key]),
    ) -> Result<(), WrongKeys> {
        let span = |name: &str| self.0.get(name).map(Spanned::span);
        let ((first, at), (second, and)) = match (span(one.0), span(other.0)) {
            (None, None) => return Ok(()),
            (Some(at), and) => ((one, at), (other, and)),
            (None, Some(at)) => ((other, at), (one, None)),
        };
        let taken = self.keys(second.0, second.1);
        let key = self.keys(first.0, first.1).iter();
        match key.copied().find(|key| taken.contains(key)) {
            None => Ok(()),
            Some(key) => Err(WrongKeys {
                key,
                bound: (first.0, at),
                why: InTheWay::Action(second.0, and),
            }),
        }
    }
}

impl Where {
    /// There can be a moment at which both hold.
    pub(in crate::app) fn meets(self, other: Self) -> bool {
        use Where::{
            Always, Everywhere, Filter, Lab, Links, Palette, Past, Paused, Playing, Recordable,
            Several, StallDetails, Tables, Typing, View, Views,
        };
        let excludes = |one: Self, other: Self| match one {
            Filter => !matches!(other, Always | Filter | Typing),
            Palette => !matches!(other, Always | Palette | Typing),
            Typing => !matches!(other, Always | Filter | Palette | Typing),
            Views | Tables => matches!(other, View(super::ViewId::Lab) | Lab),
            View(view) => match other {
                View(another) => view != another,
                Lab => view != super::ViewId::Lab,
                _ => false,
            },
            Recordable => matches!(other, Past | Playing),
            StallDetails | Links => matches!(other, Views | Tables | View(_) | Lab),
            Always | Everywhere | Lab | Past | Paused | Playing | Several => false,
        };
        !excludes(self, other) && !excludes(other, self)
    }

    /// Characters are text there.
    fn takes_text(self) -> bool {
        matches!(
            self,
            Where::Always | Where::Filter | Where::Palette | Where::Typing
        )
    }
}

/// The name of an action, one of those that there are.
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let names = || {
            let of_picker = picker::KEYS.iter().map(|bound| bound.name);
            let of_several = several::KEYS.iter().map(|bound| bound.name);
            let before = of_picker.chain(of_several);
            all().map(|binding| binding.name).chain(before)
        };
        if let Some(name) = names().find(|name| *name == text) {
            return Ok(Self(name));
        }
        let nearest = names().min_by_key(|name| strsim::damerau_levenshtein(name, &text));
        Err(de::Error::custom(format!(
            "no action is called \"{text}\"; the nearest is \"{}\", and docs/keys.md lists all",
            nearest.unwrap_or_default()
        )))
    }
}

/// One key, or a list of them.
struct Keys(Vec<Key>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key, or a list of keys")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Keys, E> {
                text.parse().map(|key| Keys(vec![key])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(key) = list.next_element::<Key>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl<'de> Deserialize<'de> for Keymap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Keymap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("actions with their keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keymap, A::Error> {
                let mut keymap = Keymap::default();
                while let Some(Name(name)) = map.next_key()? {
                    let keys: Spanned<Keys> = map.next_value()?;
                    let span = keys.span();
                    let keys = Spanned::new(span, keys.into_inner().0);
                    keymap.0.insert(name, keys);
                }
                Ok(keymap)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Serialize for Keymap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, keys)| (*name, keys.get_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Keymap, String> {
        let keymap: Keymap = toml::from_str(text).map_err(|e| e.to_string())?;
        keymap.check().map_err(|wrong| wrong.sentence(text))?;
        Ok(keymap)
    }

    #[test]
    fn keys_of_the_tables_do_not_meet() {
        let bindings: Vec<&Binding> = all().collect();
        for (n, one) in bindings.iter().enumerate() {
            for other in &bindings[n + 1..] {
                let meet = one.at.meets(other.at);
                let shared = one.keys.iter().find(|key| other.keys.contains(key));
                assert!(!meet || shared.is_none(), "{one:?} {other:?}");
                if one.name == other.name {
                    assert_eq!(one.keys, other.keys, "{}", one.name);
                    assert!(!meet, "{} has two meanings at once", one.name);
                }
            }
            let typed = one.keys.iter().any(|key| matches!(key, Key::Char(_)));
            assert!(!typed || !one.at.takes_text(), "{one:?}");
        }
    }

    #[test]
    fn what_contradicts_is_named_with_both_and_their_lines() {
        for (text, expected) in [
            (
                "help = 'h'\n",
                "line 1: h is bound to help, and by default to pan-left; give one of them \
                 another key, or pan-left none: pan-left = []",
            ),
            (
                "pan-left = 'H'\nhelp = ['?', 'h']\nquit = ['Q', '?']",
                "lines 2 and 3: ? is bound to help and to quit; give one of them another key",
            ),
            (
                "\n\nfilter-apply = 'a'",
                "line 3: filter-apply cannot be bound to a, which is text where filter-apply is \
                 used; bind it to a key that types nothing, such as Ctrl-A",
            ),
            (
                "look-again = 'q'",
                "line 1: q is bound to look-again, and by default to quit; give one of them \
                 another key, or quit none: quit = []",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        for (text, expected) in [
            (
                "halp = 'h'",
                "no action is called \"halp\"; the nearest is \"help\"",
            ),
            ("help = 'hh'", "\"hh\" is no key"),
            ("help = ['F1', 'Ctrl-I']", "Ctrl-I is Tab to a terminal"),
            ("help = 1", "a key, or a list of keys"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("line 1"),
                "{error}"
            );
        }
    }

    #[test]
    fn keys_can_be_exchanged_shared_by_views_and_taken_away() {
        let keymap = parse("quit = 'e'\nexplain = ['q', 'F2']\nfreeze = []\ngroup = 'u'").unwrap();
        assert_eq!(keymap.keys("quit", &[]), [Key::Char('e')]);
        assert_eq!(keymap.keys("explain", &[]), [Key::Char('q'), Key::F(2)]);
        assert_eq!(keymap.keys("freeze", &[Key::Char(' ')]), []);
        assert_eq!(keymap.keys("help", &[Key::F(1)]), [Key::F(1)]);
        // What holds in views that exclude each other may have one key.
        parse("warned = 'b'\nlab-broken = 'b'").unwrap();
        let printed = toml::to_string(&keymap).unwrap();
        assert_eq!(parse(&printed).unwrap(), keymap, "{printed}");
    }
}
