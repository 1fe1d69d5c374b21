//! A crate as its modules, and what each name in them stands for.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Attribute, Item, UseTree, Visibility};

/// Names of modules from the crate's root on; none is the root itself.
pub(crate) type ModulePath = Vec<String>;

/// The modules of a crate but those of its tests.
#[derive(Default)]
pub(crate) struct Crate {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
}

/// One module, without the modules within it.
#[derive(Default)]
pub(crate) struct Module {
    pub(crate) items: Vec<Item>,
    pub(crate) imports: Vec<Import>,
    names: BTreeSet<String>,
}

/// One name that a `use` brings.
#[derive(Clone, Debug)]
pub(crate) struct Import {
    /// As written, without groups.
    pub(crate) path: Vec<String>,
    /// What it is called here; None for a glob.
    pub(crate) name: Option<String>,
    /// Whether others can name it by this module.
    pub(crate) is_public: bool,
}

impl Crate {
    /// Reads the crate whose files `read` returns by their paths below `src`.
    pub(crate) fn read(read: &dyn Fn(&str) -> Option<String>) -> Result<Self, String> {
        let root = read("lib.rs").or_else(|| read("main.rs"));
        let root = root.ok_or("neither lib.rs nor main.rs")?;
        let mut modules = Self::default();
        let items = syn::parse_file(&root).map_err(|error| error.to_string())?.items;
        modules.add(Vec::new(), items, read)?;
        Ok(modules)
    }

    fn add(
        &mut self,
        path: ModulePath,
        items: Vec<Item>,
        read: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        let mut module = Module::default();
        for item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            module.names.extend(name(&item));
            match item {
                Item::Mod(inner) => {
                    let path = [path.as_slice(), &[inner.ident.to_string()]].concat();
                    let items = match inner.content {
                        Some((_, items)) => items,
                        None => file(&path, read)?,
                    };
                    self.add(path, items, read)?;
                }
                Item::Use(item) => {
                    let is_public = !matches!(item.vis, Visibility::Inherited);
                    flatten(&item.tree, &mut Vec::new(), is_public, &mut module.imports);
                }
                other => module.items.push(other),
            }
        }
        self.modules.insert(path, module);
        Ok(())
    }

    /// The modules that `path`, as written in `from`, leads through: the one that it names, and where what is
    /// re-exported there is at home. None of them if it leads to another crate.
    pub(crate) fn resolve(&self, from: &[String], path: &[String]) -> Vec<ModulePath> {
        self.follow(from, path, 0)
    }

    /// Whether `name` in `module` is a module within it.
    pub(crate) fn has_child(&self, module: &[String], name: &str) -> bool {
        self.modules.contains_key(&[module, &[name.to_owned()]].concat())
    }

    fn follow(&self, from: &[String], path: &[String], depth: usize) -> Vec<ModulePath> {
        let mut found = Vec::new();
        let mut at = from.to_vec();
        let mut rest = path;
        let mut is_rooted = false;
        while let [first, more @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            is_rooted = true;
            rest = more;
        }
        while let [first, more @ ..] = rest {
            if !self.has_child(&at, first) {
                break;
            }
            at.push(first.clone());
            is_rooted = true;
            rest = more;
        }
        let Some(module) = self.modules.get(&at) else {
            return found;
        };
        let imports = module.imports.iter();
        let is_defined = rest.first().is_none_or(|name| module.names.contains(name));
        // A name that is neither defined nor imported here comes by one of the globs.
        let by_name = |import: &&Import| import.name.is_some() && import.name.as_ref() == rest.first();
        let import = imports.clone().find(by_name).filter(|_| !is_defined);
        // What the root only re-exports is not the root's.
        if (is_rooted || import.is_some()) && (is_defined || !at.is_empty()) {
            found.push(at.clone());
        }
        if is_defined || depth > 8 {
            return found;
        }
        let onward = |import: &Import| [import.path.as_slice(), &rest[1..]].concat();
        if let Some(import) = import {
            found.extend(self.follow(&at, &onward(import), depth + 1));
            return found;
        }
        for glob in imports.filter(|import| import.name.is_none() && import.is_public) {
            let path = [glob.path.as_slice(), rest].concat();
            if self.leads_to_a_definition(&at, &path) {
                found.extend(self.follow(&at, &path, depth + 1));
            }
        }
        found
    }

    fn leads_to_a_definition(&self, from: &[String], path: &[String]) -> bool {
        let Some((name, module)) = path.split_last() else {
            return false;
        };
        let home = self.resolve(from, module);
        let home = home.last().and_then(|home| self.modules.get(home));
        home.is_some_and(|home| home.names.contains(name))
    }
}

/// Whether the item is there only in tests.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_test = |tokens: &str| tokens == "test" || tokens.starts_with("all (test");
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .meta
                    .require_list()
                    .is_ok_and(|list| is_test(&list.tokens.to_string()))
    })
}

fn file(path: &[String], read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Item>, String> {
    let stem = path.join("/");
    let text = read(&format!("{stem}.rs")).or_else(|| read(&format!("{stem}/mod.rs")));
    let text = text.ok_or_else(|| format!("{stem}.rs is missing"))?;
    let file = syn::parse_file(&text).map_err(|error| format!("{stem}.rs: {error}"))?;
    Ok(file.items)
}

pub(crate) fn flatten(tree: &UseTree, path: &mut Vec<String>, is_public: bool, imports: &mut Vec<Import>) {
    let import = |path: Vec<String>, name| Import {
        path,
        name,
        is_public,
    };
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            flatten(&inner.tree, path, is_public, imports);
            path.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, path, is_public, imports);
            }
        }
        UseTree::Glob(_) => imports.push(import(path.clone(), None)),
        UseTree::Name(leaf) => {
            let ident = leaf.ident.to_string();
            let full = if ident == "self" {
                path.clone()
            } else {
                [path.as_slice(), &[ident]].concat()
            };
            let name = full.last().cloned();
            imports.push(import(full, name));
        }
        UseTree::Rename(leaf) => {
            let ident = leaf.ident.to_string();
            let full = if ident == "self" {
                path.clone()
            } else {
                [path.as_slice(), &[ident]].concat()
            };
            imports.push(import(full, Some(leaf.rename.to_string())));
        }
    }
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
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
