//! Every figure that `cargo xtask bench` publishes can be taken. What it comes to is not looked at: nothing here is timed.

use tests::{
    figures::{MEASUREMENTS, Setting, Size},
    fixture::need_root,
};

#[test]
fn every_figure_can_be_taken() {
    need_root().unwrap();
    let setting = Setting::new(Size::Tiny, env!("CARGO_BIN_EXE_enforcer-test"));
    for measurement in MEASUREMENTS {
        let name = measurement.name;
        let figures = measurement
            .run(&setting)
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(!figures.is_empty(), "{name} has no figure");
        for figure in figures {
            assert!(
                figure.name.starts_with(name),
                "{name} has the figure {}",
                figure.name
            );
            assert!(
                !figure.series.is_empty() || !figure.skipped.is_empty(),
                "{} has no samples, and does not say why",
                figure.name
            );
            for series in &figure.series {
                assert!(
                    !series.samples.is_empty() && series.samples.iter().all(|sample| sample.is_finite()),
                    "{}: {series:?}",
                    figure.name
                );
            }
            figure
                .skipped
                .iter()
                .for_each(|why| println!("SKIPPED: {}: {why}", figure.name));
        }
    }
}
