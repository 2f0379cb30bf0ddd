//! Whether this program can set a `tracing` subscriber of its own.
//!
//! Who wants to set one must have one: a type that implements the trait
//! `Subscriber`, whose methods are reached by a table of addresses, so that the
//! linker keeps them, and the program's symbol table lists them by the names of type
//! and trait. A table that lists the agent's own subscriber and that of `tracing`
//! itself is complete enough to be believed; one that lists no further one says that
//! there is none. A program that was stripped lists nothing: then it is not certain.
//!
//! What a subscriber does silence, where there was none: `tracing` built with its
//! feature `log` passes everything on to the crate `log` as long as nobody has set
//! one. With such a `tracing` and a logger that does something the application has
//! its logs from there.

use std::fs::File;
use std::time::{Duration, Instant};

use looptop_symbols::elf::SymbolTable;

/// What this program has beside the agent's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// Nothing that a subscriber could be in the way of.
    None,
    /// A subscriber of its own.
    Subscriber,
    /// A logger that hears of `tracing` while there is no subscriber.
    Logger,
}

/// No more of a file's symbols is read, nor for longer: what a disk that does not
/// answer may take. The first decides, as a rule: what is found must not depend on how
/// busy the machine is.
const MAX_BYTES: u64 = 64 << 20;
const MAX_TIME: Duration = Duration::from_secs(1);

const STRIPPED: &str = "the program has no symbols by which the agent could be certain that it has no tracing subscriber of its own";
const UNREADABLE: &str = "the program's symbols cannot be read here, by which the agent would be certain that it has no tracing subscriber of its own";

/// Looks through the symbols of the running program.
pub(super) fn others() -> Result<Others, &'static str> {
    let program = File::open("/proc/self/exe").map_err(|_| UNREADABLE)?;
    of(&program, Instant::now() + MAX_TIME)
}

fn of(program: &File, until: Instant) -> Result<Others, &'static str> {
    let table = SymbolTable::of(program)
        .map_err(|_| UNREADABLE)?
        .filter(|table| table.names.end - table.names.start <= MAX_BYTES)
        .ok_or(STRIPPED)?;
    let mut found = Found::default();
    let mut names = table.names(program);
    loop {
        if Instant::now() >= until {
            return Err(UNREADABLE);
        }
        match names.next_piece() {
            Ok(Some((_, names))) => found.search(names),
            Ok(None) => return found.verdict(),
            Err(_) => return Err(UNREADABLE),
        }
    }
}

/// What the names of symbols say.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is seen or not, on its own"
)]
struct Found {
    own: bool,
    none: bool,
    another: bool,
    logger: bool,
    logs: bool,
}

/// The function by which `tracing` logs, and what it hands on.
const LOGS: [&str; 2] = ["__tracing_log", "LogValueSet"];

impl Found {
    /// Looks through whole names with a zero after each.
    fn search(&mut self, names: &[u8]) {
        for at in places(names, "Subscriber") {
            match method(names, at, "Subscriber", &SUBSCRIBER) {
                Some(Implementor::Agent) => self.own = true,
                Some(Implementor::Nobody) => self.none = true,
                Some(Implementor::Other) => self.another = true,
                None => {}
            }
        }
        self.logs |= LOGS.iter().any(|logs| find(names, logs).is_some());
        // As the two manglings have it; the bare name is part of too many others.
        let in_v0 = places(names, "3Log").map(|at| at + 1);
        let mut methods = places(names, "Log$GT$").chain(in_v0);
        self.logger = self.logger
            || methods.any(|at| method(names, at, "Log", &LOGGER) == Some(Implementor::Other));
    }

    fn verdict(&self) -> Result<Others, &'static str> {
        match self {
            Self { another: true, .. } => Ok(Others::Subscriber),
            // Names without those that must be there are not all names.
            Self { own: false, .. } | Self { none: false, .. } => Err(STRIPPED),
            Self {
                logs: true,
                logger: true,
                ..
            } => Ok(Others::Logger),
            _ => Ok(Others::None),
        }
    }
}

/// Whose implementation of a trait it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Implementor {
    Agent,
    /// The type that stands for "none".
    Nobody,
    Other,
}

/// A trait, and how its methods' names look.
struct Trait {
    /// The crate in which it is, and its path as the older mangling has it.
    home: &'static str,
    legacy: &'static str,
    /// The type that does nothing.
    nobody: &'static str,
    /// Methods that each implementation must have.
    methods: &'static [&'static str],
}

const SUBSCRIBER: Trait = Trait {
    home: "tracing_core",
    legacy: "tracing_core..subscriber..Subscriber$GT$",
    nobody: "NoSubscriber",
    methods: &[
        "enabled",
        "new_span",
        "record",
        "record_follows_from",
        "event",
        "enter",
        "exit",
    ],
};

const LOGGER: Trait = Trait {
    home: "log",
    legacy: "log..Log$GT$",
    nobody: "NopLogger",
    methods: &["enabled", "log", "flush"],
};

/// Where the text begins, time and again.
fn places<'a>(names: &'a [u8], text: &'static str) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + find(&names[from..], text)?;
        from = at + text.len();
        Some(at)
    })
}

/// Where the text begins. The C library's search, because it is as fast in a build
/// without optimisation.
#[allow(unsafe_code, reason = "to call it")]
fn find(names: &[u8], text: &str) -> Option<usize> {
    let (start, length) = (names.as_ptr(), names.len());
    // SAFETY: reads within the two slices, which live and do not change meanwhile.
    let found = unsafe { libc::memmem(start.cast(), length, text.as_ptr().cast(), text.len()) };
    (!found.is_null()).then(|| found.addr() - start.addr())
}

/// The implementor, where the name around `at`, at which the trait's own name
/// stands, is that of a method of the trait.
fn method(names: &[u8], at: usize, name: &str, of: &Trait) -> Option<Implementor> {
    let from = names[..at]
        .iter()
        .rposition(|b| *b == 0)
        .map_or(0, |z| z + 1);
    let to = at + names[at..].iter().position(|byte| *byte == 0)?;
    let symbol = std::str::from_utf8(&names[from..to]).ok()?;
    let (before, after) = (&symbol[..at - from], &symbol[at - from + name.len()..]);
    if symbol.starts_with("_R") {
        let own = format!("{}", name.len());
        let is_trait = before.ends_with(&own) && is_method(after, of);
        return is_trait.then(|| v0_implementor(before, of).unwrap_or(Implementor::Other));
    }
    let after = after.strip_prefix("$GT$")?;
    let whole = &symbol[..symbol.len() - after.len()];
    let is_trait = whole.ends_with(of.legacy) && is_method(after, of);
    is_trait.then(|| legacy_implementor(whole, of).unwrap_or(Implementor::Other))
}

/// Whether a name goes on with a method of the trait: `8new_span...`.
fn is_method(after: &str, of: &Trait) -> bool {
    let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let Ok(length) = after[..digits].parse::<usize>() else {
        return false;
    };
    let method = after.get(digits..digits + length);
    method.is_some_and(|method| of.methods.contains(&method))
}

/// `_ZN86_$LT$looptop_agent..layer..own..TaskSubscriber$u20$as$u20$...`. What a
/// type's parameters are is not said; it does not matter.
fn legacy_implementor(symbol: &str, of: &Trait) -> Option<Implementor> {
    let (_, implementor) = symbol.split_once("_$LT$")?;
    let (head, _) = implementor.split_once("$u20$as$u20$")?;
    let head = head.trim_start_matches('_');
    Some(match head.split("..").next() {
        Some("looptop_agent") => Implementor::Agent,
        Some(home) if home == of.home && head.ends_with(of.nobody) => Implementor::Nobody,
        _ => Implementor::Other,
    })
}

/// `_RNvXs_NtNtCs4fqI2P2rA04_13looptop_agent5layer3ownNtB4_14TaskSubscriberNt...`:
/// after `X` is the module of the implementation, which begins with its crate. A
/// type can implement a foreign trait in its own crate only.
fn v0_implementor(before: &str, of: &Trait) -> Option<Implementor> {
    let at = before.find("NvX")?;
    let path = without_number(&before[at + 3..]);
    // Namespaces of the modules, then `C` for the crate and its disambiguator.
    let crate_at = path.find('C')?;
    let (home, _) = identifier(without_number(&path[crate_at + 1..]))?;
    let nobody = format!("{}{}", of.nobody.len(), of.nobody);
    Some(match home {
        "looptop_agent" => Implementor::Agent,
        // Not a pointer to it, which is somebody's.
        _ if home == of.home && before.contains(&nobody) && !before.contains("5alloc") => {
            Implementor::Nobody
        }
        _ => Implementor::Other,
    })
}

/// What distinguishes things of one name: `s_`, `s4fqI2P2rA04_`.
fn without_number(text: &str) -> &str {
    let number = text.strip_prefix('s').and_then(|rest| rest.split_once('_'));
    match number {
        Some((digits, rest)) if digits.bytes().all(|b| b.is_ascii_alphanumeric()) => rest,
        _ => text,
    }
}

/// `13looptop_agent5layer`: an identifier, and what comes after it.
fn identifier(text: &str) -> Option<(&str, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let length: usize = text[..digits].parse().ok()?;
    let text = &text[digits..];
    let text = text.strip_prefix('_').unwrap_or(text);
    Some((text.get(..length)?, text.get(length..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "_ZN100_$LT$looptop_agent..layer..own..TaskSubscriber$u20$as$u20$tracing_core..subscriber..Subscriber$GT$8new_span17h0a1b2c3d4e5f6071E";
    const NONE: &str = "_ZN96_$LT$tracing_core..subscriber..NoSubscriber$u20$as$u20$tracing_core..subscriber..Subscriber$GT$7enabled17h0a1b2c3d4e5f6071E";
    const OWN_V0: &str = "_RNvXs_NtNtCs4fqI2P2rA04_13looptop_agent5layer3ownNtB4_14TaskSubscriberNtNtCsjDq_12tracing_core10subscriber10Subscriber8new_span";
    const NONE_V0: &str =
        "_RNvXs2_NtCsjDqvFG_12tracing_core10subscriberNtB5_12NoSubscriberNtB5_10Subscriber7enabled";
    const LOGGING: &str = "_ZN7tracing15__macro_support13__tracing_log17h0a1b2c3d4e5f6071E";

    fn verdict(names: &[&str]) -> Result<Others, &'static str> {
        let mut text: Vec<u8> = vec![0];
        for name in names {
            text.extend(name.bytes());
            text.push(0);
        }
        let mut found = Found::default();
        found.search(&text);
        found.verdict()
    }

    #[test]
    fn what_the_names_of_a_programs_symbols_say() {
        let cases: [(&str, Result<Others, &str>); 15] = [
            // The agent's alone, and names that look like it.
            ("main", Ok(Others::None)),
            (
                "_ZN12tracing_core10subscriber10Subscriber14max_level_hint17h0a1b2c3d4e5f6071E",
                Ok(Others::None),
            ),
            (
                "_ZN12tracing_core10dispatcher8Dispatch8new_span17h0a1b2c3d4e5f6071E",
                Ok(Others::None),
            ),
            (
                "_ZN64_$LT$news..Subscriber$u20$as$u20$news..Subscriber$GT$5event17h0a1b2c3d4e5f6071E",
                Ok(Others::None),
            ),
            (
                "_RNvYNtB5_12NoSubscriberNtB5_10Subscriber14max_level_hintCs4_5serve",
                Ok(Others::None),
            ),
            // Whatever its type is made of.
            (
                "_ZN115_$LT$tracing_subscriber..layer..layered..Layered$LT$L$C$S$GT$$u20$as$u20$tracing_core..subscriber..Subscriber$GT$5event17h0a1b2c3d4e5f6071E",
                Ok(Others::Subscriber),
            ),
            (
                "_ZN100_$LT$alloc..sync..Arc$LT$S$GT$$u20$as$u20$tracing_core..subscriber..Subscriber$GT$4exit17h0a1b2c3d4e5f6071E",
                Ok(Others::Subscriber),
            ),
            (
                "_ZN60_$LT$serve..Mine$u20$as$u20$tracing_core..subscriber..Subscriber$GT$6record17h0a1b2c3d4e5f6071E",
                Ok(Others::Subscriber),
            ),
            (
                "_RNvXs1_NtNtCsbZ_18tracing_subscriber5layer7layeredINtB5_7LayeredINtNtCs4_13looptop_agent5layer9TaskLayerNtB7_8RegistryEB7_ENtNtCsjDq_12tracing_core10subscriber10Subscriber5eventCs4_5serve",
                Ok(Others::Subscriber),
            ),
            (
                "_RNvXs3_NtCsjDq_12tracing_core10subscriberINtNtCs9_5alloc4sync3ArcNtB5_12NoSubscriberENtB5_10Subscriber8new_spanCs4_5serve",
                Ok(Others::Subscriber),
            ),
            (
                "_RNvXCsaB_5serveNtB2_4MineNtNtCsj_12tracing_core10subscriber10Subscriber5enter",
                Ok(Others::Subscriber),
            ),
            // A logger, and what would feed it.
            (LOGGING, Ok(Others::None)),
            (
                "_ZN52_$LT$log..NopLogger$u20$as$u20$log..Log$GT$3log17h0a1b2c3d4e5f6071E",
                Ok(Others::None),
            ),
            (
                "_ZN62_$LT$env_logger..Logger$u20$as$u20$log..Log$GT$3log17h0a1b2c3d4e5f6071E",
                Ok(Others::None),
            ),
            (
                "_RNvXs_CsaB_10env_loggerNtB4_6LoggerNtCs1_3log3Log3log",
                Ok(Others::None),
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(verdict(&[OWN, NONE, name]), expected, "{name}");
            assert_eq!(verdict(&[name, OWN_V0, NONE_V0]), expected, "{name}");
        }
        for logger in [cases[13].0, cases[14].0] {
            assert_eq!(verdict(&[OWN, LOGGING, NONE, logger]), Ok(Others::Logger));
        }
        assert_eq!(
            verdict(&[OWN, LOGGING, NONE, cases[12].0]),
            Ok(Others::None)
        );
    }

    /// Names without those that must be there are not all names.
    #[test]
    fn a_table_without_the_agents_own_is_not_believed() {
        for names in [&["main"][..], &[OWN], &[NONE_V0, "main"]] {
            assert_eq!(verdict(names), Err(STRIPPED));
        }
    }

    /// This very program, which has the layers of these tests.
    #[test]
    fn the_running_program_is_looked_through() {
        let begin = Instant::now();
        let _ = others();
        println!("looked through in {:?}", begin.elapsed());
        assert_eq!(others(), Ok(Others::Subscriber));
        let no_time = of(&File::open("/proc/self/exe").unwrap(), Instant::now());
        assert_eq!(no_time, Err(UNREADABLE));
        let no_program = of(&File::open("/proc/self/status").unwrap(), Instant::now());
        assert!(no_program.is_err());
    }
}
