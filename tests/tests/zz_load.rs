use enforcer::datapath::{Datapath, Options};
use enforcer_common::Settings;
#[test]
fn loads() {
    let (datapath, _events) = Datapath::load(None, Options::default(), Settings::STRICT).unwrap();
    for closure in datapath.closures() {
        println!("{closure}");
    }
    println!("{:?}", datapath.verified_instructions());
}
