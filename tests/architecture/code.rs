//! What the viewer's sources name outside of their tests, by their syntax.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, ItemMod, UseTree, visit::Visit};

/// What one source names.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Paths as they are imported and written, those into this crate from its root
    /// (`crate::model::Model`); a method that is called is a path of one segment.
    pub(crate) paths: BTreeSet<String>,
    /// Macros that are called.
    pub(crate) macros: BTreeSet<String>,
    /// The module that is being visited, from the root.
    module: Vec<String>,
}

impl Source {
    /// Parses the source of `module`.
    pub(crate) fn parse(code: &str, module: &[&str]) -> Self {
        let file = syn::parse_file(code).unwrap();
        Self::of(&file, module.iter().map(|name| (*name).to_owned()))
    }

    fn of(file: &syn::File, module: impl Iterator<Item = String>) -> Self {
        let mut source = Self {
            module: module.collect(),
            ..Self::default()
        };
        source.visit_file(file);
        source
    }

    /// Those of the root's `modules` that it names.
    pub(crate) fn modules_used(&self, modules: &BTreeSet<String>) -> BTreeSet<String> {
        let inside = self.paths.iter().filter_map(|p| p.strip_prefix("crate::"));
        inside
            .filter_map(|path| path.split("::").next())
            .filter(|name| modules.contains(*name))
            .map(str::to_owned)
            .collect()
    }

    /// Notes a path, from the root where it leads into this crate.
    fn add(&mut self, segments: &[String]) {
        let mut module = self.module.as_slice();
        let mut rest = segments;
        let mut is_inside = false;
        while let Some((first, others)) = rest.split_first() {
            match first.as_str() {
                "crate" => module = &[],
                "self" => {}
                "super" => module = module.split_last().map_or(&[], |(_, above)| above),
                _ => break,
            }
            is_inside = true;
            rest = others;
        }
        let path = if is_inside {
            let crate_ = ["crate".to_owned()];
            [&crate_, module, rest].concat().join("::")
        } else {
            rest.join("::")
        };
        self.paths.insert(path);
    }

    fn add_tree(&mut self, tree: &UseTree, above: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                above.push(path.ident.to_string());
                self.add_tree(&path.tree, above);
                above.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(tree, above);
                }
            }
            UseTree::Name(name) if name.ident == "self" => self.add(above),
            UseTree::Rename(rename) if rename.ident == "self" => self.add(above),
            UseTree::Name(syn::UseName { ident })
            | UseTree::Rename(syn::UseRename { ident, .. }) => {
                above.push(ident.to_string());
                self.add(above);
                above.pop();
            }
            UseTree::Glob(_) => self.add(above),
        }
    }

    /// What a macro is given need not be Rust: identifiers joined by `::` are paths.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) => {
                    if colons != 2 && !path.is_empty() {
                        self.add(&std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                }
                TokenTree::Group(group) => {
                    if !path.is_empty() {
                        self.add(&std::mem::take(&mut path));
                    }
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) if !path.is_empty() => {
                    self.add(&std::mem::take(&mut path));
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            colons = 0;
        }
        if !path.is_empty() {
            self.add(&path);
        }
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_of_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.add_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments = path.segments.iter().map(|s| s.ident.to_string());
        self.add(&segments.collect::<Vec<_>>());
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        self.add(&[call.method.to_string()]);
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        let name = called.path.segments.last().map(|s| s.ident.to_string());
        self.macros.extend(name);
        self.add_tokens(called.tokens.clone());
        syn::visit::visit_macro(self, called);
    }
}

/// Whether something exists in tests only, those of other crates included.
fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let condition = list.tokens.to_string();
        attribute.path().is_ident("cfg")
            && (condition == "test"
                || condition.starts_with("all (test")
                || condition.starts_with("any (test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The modules that a file declares in files of their own, but for those of tests.
fn declared(file: &syn::File) -> Vec<String> {
    let modules = file.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() => Some(module),
        _ => None,
    });
    let modules = modules.filter(|module| !is_of_tests(&module.attrs));
    modules
        .map(|module| {
            let has_path = module.attrs.iter().any(|a| a.path().is_ident("path"));
            assert!(!has_path, "`{}` is elsewhere, by #[path]", module.ident);
            module.ident.to_string()
        })
        .collect()
}

/// Where the sources of the viewer are: its own, and those of the crate that judges, whose
/// modules it has at its root as well.
fn roots() -> [PathBuf; 2] {
    ["src", "diagnosis/src"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder))
}

fn declared_at(root: &Path) -> Vec<String> {
    declared(&parsed(&root.join("lib.rs")))
}

fn parsed(path: &Path) -> syn::File {
    let code = fs::read_to_string(path).unwrap();
    syn::parse_file(&code).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The modules at the root of the viewer.
pub(crate) fn modules() -> BTreeSet<String> {
    roots().iter().flat_map(|root| declared_at(root)).collect()
}

/// The sources of a module at the root, with where they are.
pub(crate) fn module_sources(module: &str) -> Vec<(PathBuf, Source)> {
    let declares = |root: &PathBuf| declared_at(root).iter().any(|name| name == module);
    let root = roots().into_iter().find(declares);
    module_sources_of(&root.expect("the list has the modules that exist"), module)
}

/// The same of a folder of sources.
fn module_sources_of(folder: &Path, module: &str) -> Vec<(PathBuf, Source)> {
    let mut sources = Vec::new();
    let mut waiting = vec![vec![module.to_owned()]];
    while let Some(module) = waiting.pop() {
        let directory = module
            .iter()
            .fold(folder.to_owned(), |path, name| path.join(name));
        let path = [directory.with_extension("rs"), directory.join("mod.rs")];
        let path = path.into_iter().find(|path| path.is_file());
        let path = path.unwrap_or_else(|| panic!("no file for {}", module.join("::")));
        let file = parsed(&path);
        waiting.extend(declared(&file).into_iter().map(|name| {
            let mut inner = module.clone();
            inner.push(name);
            inner
        }));
        sources.push((path, Source::of(&file, module.into_iter())));
    }
    sources
}
