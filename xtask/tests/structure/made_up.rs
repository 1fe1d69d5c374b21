//! Crates that are made up: what has to be found is found, and nothing else.

use std::collections::BTreeSet;

use crate::{
    arrows::arrows,
    circles::{Circle, circles},
    layers::{self, breaches},
    source::Crate,
};

fn read(files: &[(&str, &str)]) -> Crate {
    let text = |file: &str| {
        let found = files.iter().find(|(name, _)| *name == file);
        found.map(|(_, text)| (*text).to_owned())
    };
    Crate::read(&text).expect("what is made up is Rust")
}

/// The circles among `a`, `b` and `c`, each of which is one file.
fn found(a: &str, b: &str, c: &str) -> Vec<BTreeSet<String>> {
    let root = "mod a; mod b; mod c; pub use a::A;";
    let modules = read(&[("lib.rs", root), ("a.rs", a), ("b.rs", b), ("c.rs", c)]);
    circles(&arrows(&modules)).iter().map(names).collect()
}

fn names(circle: &Circle) -> BTreeSet<String> {
    circle.modules().iter().map(|&name| name.to_owned()).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const A: &str = "pub struct A; pub fn f() {}";

#[test]
fn circle_is_found_however_it_is_written() {
    let ways = [
        "use crate::b::B;",
        "use crate::{c::C, b::{B as Other}};",
        "use super::b;",
        "use crate::b::*;",
        "fn f() { crate::b::g(); }",
        "fn f() -> super::b::B { todo!() }",
        "fn f(b: &impl Into<Vec<crate::b::B>>) {}",
        "fn f() { use crate::b::B; }",
        "fn f() { println!(\"{}\", crate::b::g()); }",
        "#[serde(with = \"crate::b::g\")] struct S;",
        "impl crate::b::T for u8 {}",
        "mod inner { use super::super::b::B; }",
        "pub use crate::b::B;",
    ];
    for way in ways {
        let a = format!("{A} {way}");
        assert_eq!(found(&a, "use crate::a::A;", ""), [set(&["a", "b"])], "{way}");
        assert_eq!(found(&a, "", ""), [] as [BTreeSet<String>; 0], "{way}");
    }
}

#[test]
fn long_circle_is_found_with_all_of_its_modules() {
    let found = found(
        &format!("{A} use crate::b::B;"),
        "use crate::c::C;",
        "use crate::a::A;",
    );
    assert_eq!(found, [set(&["a", "b", "c"])]);
}

#[test]
fn re_export_hides_no_arrow() {
    // `b` names the root alone, and uses `a` by it.
    let found = found(&format!("{A} use crate::b::B;"), "use crate::A;", "");
    assert_eq!(found, [set(&["a", "b"])]);
}

#[test]
fn what_is_defined_in_the_root_and_used_below_is_a_circle_with_what_the_root_uses() {
    let modules = read(&[
        ("lib.rs", "mod a; struct R; fn f() { a::f(); }"),
        ("a.rs", "use crate::R;"),
    ]);
    assert_eq!(circles(&arrows(&modules))[0].modules(), ["(root)", "a"].into());
}

#[test]
fn tests_visibility_strings_and_other_crates_are_no_arrows() {
    for way in [
        "#[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(test)] use crate::b::B;",
        "/// [`crate::b::B`]\npub struct D;",
        "pub(in crate::b) struct D;",
        "const S: &str = \"see crate::b\";",
        "use std::b::B;",
        "fn f(b: u8) -> u8 { b }",
    ] {
        let found = found(&format!("{A} {way}"), "use crate::a::A;", "");
        assert!(found.is_empty(), "{way}: {found:?}");
    }
}

#[test]
fn modules_within_one_are_looked_at_and_are_one_with_it() {
    let lib = "mod a; mod b;";
    let parent = "mod x; mod y; pub struct P; pub use x::X; fn f() { y::f() }";
    let check = |x: &str, y: &str, b: &str| {
        let modules = read(&[
            ("lib.rs", lib),
            ("a.rs", parent),
            ("a/x.rs", x),
            ("a/y.rs", y),
            ("b.rs", b),
        ]);
        let found = circles(&arrows(&modules)).into_iter();
        let named = found.map(|circle| (circle.within.clone(), names(&circle)));
        named.collect::<Vec<_>>()
    };
    let none: [(String, BTreeSet<String>); 0] = [];
    assert_eq!(check("use super::P; pub struct X;", "use super::P;", ""), none);
    let within = check("use super::y::Y; pub struct X;", "use super::X;", "");
    assert_eq!(within, [("a".to_owned(), set(&["x", "y"]))]);
    let across = check("use crate::b::B;", "", "use crate::a::y;");
    assert_eq!(across, [(String::new(), set(&["a", "b"]))]);
}

#[test]
fn arrow_against_the_layers_is_found_without_a_circle() {
    let modules = read(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", A),
        ("b.rs", "use crate::a::A;"),
        ("c.rs", ""),
    ]);
    let check = |layers: &str| {
        let text = format!(
            "\n## Layers\n\n| crate | layers |\n|---|---|\n| `x` | {layers} |\n\n## Other\n| `y` | `z` |\n"
        );
        let layers = layers::read(&text).unwrap();
        assert_eq!(layers.len(), 1);
        let found = breaches(&modules, &arrows(&modules), &layers["x"]);
        found.into_iter().collect::<Vec<_>>()
    };
    assert!(check("`a` `c` < `b`").is_empty());
    assert_eq!(check("`b` < `a` `c`").len(), 1);
    assert_eq!(check("`a` `b` `c`").len(), 1);
    assert_eq!(check("`a` < `b`"), ["c has no layer"]);
    assert_eq!(check("`a` `c` < `b` < `d`"), ["d has a layer and is no module"]);
    assert_eq!(check("`a` `c` < `b` < `c`"), ["c is in two layers"]);
}
