//! The function that is to be a test.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

use crate::Refusal;

/// An `async fn` without arguments, taken apart.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its attributes and documentation.
    pub(crate) attributes: TokenStream,
    /// `pub` and the like, without `async`.
    pub(crate) modifiers: TokenStream,
    pub(crate) name: Ident,
    /// What it returns; empty where that is nothing.
    pub(crate) output: TokenStream,
    pub(crate) body: Group,
}

pub(crate) fn parse(item: TokenStream) -> Result<Function, Refusal> {
    let whole = Span::call_site();
    let mut tokens = item.into_iter().peekable();
    let mut attributes = TokenStream::new();
    while let Some(TokenTree::Punct(sign)) = tokens.peek() {
        if sign.as_char() != '#' {
            break;
        }
        let sign = tokens.next();
        let Some(TokenTree::Group(group)) = tokens.next() else {
            return Err(not_a_function(whole));
        };
        if is_test(&group) {
            return Err(Refusal::new(
                group.span(),
                "this makes a second test of the function: #[looptop_agent::test] takes the \
                 place of #[test] and #[tokio::test]",
            ));
        }
        attributes.extend(sign);
        attributes.extend([TokenTree::Group(group)]);
    }
    let mut modifiers = TokenStream::new();
    let mut is_async = false;
    let at = loop {
        match tokens.next() {
            Some(TokenTree::Ident(word)) if word.to_string() == "fn" => break word.span(),
            Some(TokenTree::Ident(word)) if word.to_string() == "async" => is_async = true,
            Some(token @ (TokenTree::Ident(_) | TokenTree::Group(_) | TokenTree::Literal(_))) => {
                modifiers.extend([token]);
            }
            Some(other) => return Err(not_a_function(other.span())),
            None => return Err(not_a_function(whole)),
        }
    };
    if !is_async {
        return Err(Refusal::new(
            at,
            "the function is not `async`: a test without `async` needs #[test] alone",
        ));
    }
    let Some(TokenTree::Ident(name)) = tokens.next() else {
        return Err(not_a_function(at));
    };
    let arguments = match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => group,
        Some(other) => return Err(Refusal::new(other.span(), "a test has no parameters")),
        None => return Err(not_a_function(at)),
    };
    if !arguments.stream().is_empty() {
        return Err(Refusal::new(arguments.span(), "a test has no arguments"));
    }
    let mut rest: Vec<TokenTree> = tokens.collect();
    let body = match rest.pop().map(crate::opened) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
        _ => return Err(not_a_function(at)),
    };
    // `->`, which is two signs.
    let output = match rest.first() {
        Some(TokenTree::Punct(sign)) if sign.as_char() == '-' => rest.drain(2..).collect(),
        Some(other) => return Err(Refusal::new(other.span(), "a test has no bounds")),
        None => TokenStream::new(),
    };
    Ok(Function {
        attributes,
        modifiers,
        name,
        output,
        body,
    })
}

fn not_a_function(at: Span) -> Refusal {
    Refusal::new(
        at,
        "#[looptop_agent::test] is for an `async fn` with a body",
    )
}

/// `test`, by whatever path.
fn is_test(attribute: &Group) -> bool {
    let mut path = attribute
        .stream()
        .into_iter()
        .take_while(|token| match token {
            TokenTree::Ident(_) => true,
            TokenTree::Punct(sign) => sign.as_char() == ':',
            _ => false,
        });
    let last = path.by_ref().last();
    last.is_some_and(|token| token.to_string() == "test")
}
