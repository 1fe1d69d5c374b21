//! Who uses whom: by `use`, by a path in the code, in a macro's arguments or in an attribute.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Attribute, ImplItem, Item, ItemUse, Macro, Meta, Path, Visibility,
    visit::{self, Visit},
};

use crate::source::{Crate, ModulePath, is_for_tests};

/// One module uses another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: ModulePath,
    pub(crate) to: ModulePath,
    /// The path as it is written.
    pub(crate) by: String,
}

/// Every arrow of a crate, those within one module left out.
pub(crate) fn arrows(modules: &Crate) -> BTreeSet<Arrow> {
    let mut all = BTreeSet::new();
    for (path, module) in &modules.modules {
        let mut reader = Reader {
            modules,
            at: path,
            arrows: &mut all,
        };
        for import in &module.imports {
            let targets = modules.resolve(path, &import.path);
            // A parent that re-exports what is its own does not use it by that.
            let is_facade = import.is_public && targets.last().is_some_and(|to| to.starts_with(path));
            if !is_facade {
                reader.add(&import.path);
            }
        }
        for item in &module.items {
            reader.visit_item(item);
        }
    }
    all
}

struct Reader<'a> {
    modules: &'a Crate,
    at: &'a ModulePath,
    arrows: &'a mut BTreeSet<Arrow>,
}

impl Reader<'_> {
    fn add(&mut self, path: &[String]) {
        for to in self.modules.resolve(self.at, path) {
            if to != *self.at {
                self.arrows.insert(Arrow {
                    from: self.at.clone(),
                    to,
                    by: path.join("::"),
                });
            }
        }
    }

    /// A path that is not known to be one of this crate's.
    fn add_if_ours(&mut self, path: &[String]) {
        let [first, rest @ ..] = path else {
            return;
        };
        let is_rooted = ["crate", "self", "super"].contains(&first.as_str());
        let is_child = !rest.is_empty() && self.modules.has_child(self.at, first);
        let imports = &self.modules.modules[self.at].imports;
        let is_imported = imports.iter().any(|import| import.name.as_deref() == Some(first));
        if (is_rooted && !rest.is_empty()) || is_child || is_imported {
            self.add(path);
        }
    }

    /// The paths among tokens of which nothing else is known.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_if_ours(&std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Literal(literal) => self.scan_text(&literal.to_string()),
                TokenTree::Punct(_) => {}
            }
            self.add_if_ours(&std::mem::take(&mut path));
            colons = 0;
        }
        self.add_if_ours(&path);
    }

    /// A text that is a path, as attributes name functions.
    fn scan_text(&mut self, literal: &str) {
        let text = literal.trim_matches('"');
        if (text.starts_with("crate::") || text.starts_with("super::"))
            && let Ok(path) = syn::parse_str::<Path>(text)
        {
            self.visit_path(&path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        if path.leading_colon.is_none() {
            self.add_if_ours(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // One within a function.
        let mut tokens = Vec::new();
        crate::source::flatten(&item.tree, &mut Vec::new(), false, &mut tokens);
        for import in tokens {
            self.add(&import.path);
        }
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.scan(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone());
        }
    }

    /// `pub(crate)` and `pub(super)` use nobody.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(crate::source::attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let is_test = matches!(item, ImplItem::Fn(function) if is_for_tests(&function.attrs));
        if !is_test {
            visit::visit_impl_item(self, item);
        }
    }
}
