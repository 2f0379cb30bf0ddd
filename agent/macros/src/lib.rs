#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arguments;
mod function;

use std::fmt::Write as _;

use proc_macro::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};

use arguments::{Arguments, Flavor};
use function::Function;

/// Why an attribute or its function cannot be used, and where that is written.
#[derive(Debug)]
pub(crate) struct Refusal {
    at: Span,
    why: String,
}

impl Refusal {
    pub(crate) fn new(at: Span, why: impl Into<String>) -> Self {
        Self {
            at,
            why: why.into(),
        }
    }

    /// As the compiler is to report it.
    fn into_tokens(self) -> TokenStream {
        let mut message = Literal::string(&self.why);
        message.set_span(self.at);
        let message = TokenStream::from(TokenTree::Literal(message));
        let mut tokens: TokenStream = "::core::compile_error!".parse().unwrap_or_default();
        let mut braces = Group::new(Delimiter::Brace, message);
        braces.set_span(self.at);
        tokens.extend([TokenTree::Group(braces)]);
        tokens.into_iter().map(|token| at(token, self.at)).collect()
    }
}

/// What stands in the brackets that nobody wrote: those around what a `macro_rules!` was
/// given, such as a literal or a block.
pub(crate) fn opened(mut token: TokenTree) -> TokenTree {
    while let TokenTree::Group(group) = &token
        && group.delimiter() == Delimiter::None
    {
        let mut inner = group.stream().into_iter();
        match (inner.next(), inner.next()) {
            (Some(only), None) => token = only,
            _ => break,
        }
    }
    token
}

fn at(mut token: TokenTree, span: Span) -> TokenTree {
    token.set_span(span);
    token
}

/// Runs an `async fn` as a test on a runtime of tokio's, and fails it when it blocks the
/// runtime, leaks a task or deadlocks: see the documentation of `looptop_agent::testing`.
#[proc_macro_attribute]
pub fn test(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let written = arguments::parse(attribute)
        .and_then(|arguments| Ok((arguments, function::parse(item.clone())?)));
    match written {
        Ok((arguments, function)) => write(&arguments, function),
        Err(refusal) => {
            // The function stays, so that what names it has no second error.
            let mut tokens = refusal.into_tokens();
            tokens.extend(item);
            tokens
        }
    }
}

/// The function as a test.
fn write(arguments: &Arguments, function: Function) -> TokenStream {
    let mut body = code("let body = async move");
    body.extend([TokenTree::Group(function.body)]);
    body.extend(code(";"));
    // A body that only panics has any type.
    body.extend(code("let body = ::looptop_agent::testing::of_type"));
    body.extend(generics(&function.output));
    body.extend(code("(body);"));
    body.extend(code(&run(arguments, &function.name.to_string())));
    let mut test = code("#[::core::prelude::v1::test]");
    test.extend(function.attributes);
    test.extend(function.modifiers);
    test.extend(code("fn"));
    test.extend([TokenTree::Ident(function.name)]);
    test.extend(code("()"));
    if !function.output.is_empty() {
        test.extend(code("->"));
        test.extend(function.output);
    }
    test.extend([TokenTree::Group(Group::new(Delimiter::Brace, body))]);
    test
}

/// `::<Output, _>`.
fn generics(output: &TokenStream) -> TokenStream {
    let mut tokens = code("::<");
    if output.is_empty() {
        tokens.extend(code("()"));
    } else {
        tokens.extend(output.clone());
    }
    tokens.extend(code(", _>"));
    tokens
}

/// Builds the runtime, and runs `body` on it.
fn run(arguments: &Arguments, name: &str) -> String {
    let tokio = arguments.tokio.as_deref().unwrap_or("::tokio");
    let mut text = match arguments.flavor() {
        Flavor::CurrentThread => {
            format!("let mut runtime = {tokio}::runtime::Builder::new_current_thread();")
        }
        Flavor::MultiThread => {
            format!("let mut runtime = {tokio}::runtime::Builder::new_multi_thread();")
        }
    };
    text.push_str("runtime.enable_all();");
    if let Some(workers) = arguments.workers {
        let _ = write!(text, "runtime.worker_threads({workers}usize);");
    }
    if let Some(paused) = arguments.start_paused {
        let _ = write!(text, "runtime.start_paused({paused});");
    }
    let _ = write!(
        text,
        "::looptop_agent::testing::Test::new(::core::concat!(::core::module_path!(), \"::{name}\"))"
    );
    if let Some(limit) = arguments.max_poll {
        let nanos = limit.as_nanos();
        let _ = write!(
            text,
            ".max_poll(::core::time::Duration::from_nanos({nanos}u64))"
        );
    }
    for (switch, value) in [("leak", arguments.leak), ("deadlock", arguments.deadlock)] {
        if let Some(value) = value {
            let _ = write!(text, ".{switch}({value})");
        }
    }
    for name in &arguments.allow {
        let _ = write!(text, ".allow({name:?})");
    }
    text.push_str(
        ".run(runtime, body, |output| {
            #[allow(unused_imports)]
            use ::looptop_agent::testing::outcome::{OfAny as _, OfResult as _};
            (&::looptop_agent::testing::outcome::Output(output)).is_err()
        })",
    );
    text
}

fn code(text: &str) -> TokenStream {
    text.parse().unwrap_or_default()
}
