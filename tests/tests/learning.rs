//! What names are learned by in the kernel's maps, and what was learned of them: who keeps it, and what it allows.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer_common::{
    CgroupId, HostId, Learned, LearnedHost, LearnedKey, Learner, Named, Question, QuestionKey, ResolverKey,
    Slot, Slots, SlotsKey, Transport,
    learned::{HOSTS, NAME, QUESTION},
    maps,
};
use enforcer_core::{model::Host, pattern};
use nix::sys::signal::Signal;
use tests::{
    daemon::{Daemon, PATIENCE, Place, wait},
    fixture::{bpf, in_own_network, need_root},
    naming::message,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: ['192.0.2.53:5353'], timeout: 100ms}
";

/// An address that nothing declares.
const GIVEN: &str = "198.51.100.1:443";
const OTHER: &str = "192.0.2.20:443";
const WILDCARD: &str = "*.learned.example";
const SECOND: u64 = 1_000_000_000;
/// Seconds that are more than any machine has run.
const LONG: u64 = 1 << 33;

fn entry(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\nspec:\n  \
         {spec}\n  resolution: NONE\n  ports: [{{number: 443, name: tls, protocol: TLS}}]\n"
    )
}

fn check(claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.write("wild.yaml", &entry("wild", &format!("hosts: ['{WILDCARD}']")))?;
        place.write(
            "other.yaml",
            &entry("other", "hosts: [other.example]\n  addresses: [192.0.2.20]"),
        )?;
        place.cgroup.child("frontend")?;
        let mut daemon = place.start(&[])?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

/// A pinned map.
fn map(place: &Place, name: &str) -> PathBuf {
    fs::read_dir(place.bpffs().join("enforcer"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join(name))
        .find(|path| path.exists())
        .unwrap()
}

fn servers(place: &Place) -> Result<BTreeSet<String>> {
    let keys = bpf::keys::<ResolverKey, u32>(&map(place, maps::RESOLVERS))?;
    let text = |key: ResolverKey| {
        let server = SocketAddr::new(IpAddr::from(key.address), u16::from_be_bytes(key.port));
        server.to_string()
    };
    Ok(keys.into_iter().map(text).collect())
}

/// Has the workload been given [`GIVEN`] for the wildcard, until then.
fn give(place: &Place, expires: u64) -> Result<()> {
    give_to(place, workload(place)?, expires)
}

/// The workload's cgroup.
fn workload(place: &Place) -> Result<CgroupId> {
    let folder = place.cgroup.folder().join("frontend");
    Ok(CgroupId(fs::metadata(folder)?.ino()))
}

fn give_to(place: &Place, owner: CgroupId, expires: u64) -> Result<()> {
    give_at(place, (owner, GIVEN), 0, expires)
}

/// The same with an address in a slot, the last that it was assigned.
fn give_at(place: &Place, (owner, to): (CgroupId, &str), slot: u32, expires: u64) -> Result<()> {
    let key = LearnedKey {
        owner,
        address: to.parse::<SocketAddr>()?.ip().into(),
    };
    let name = message::name("api.learned.example");
    let nothing = LearnedHost {
        host: HostId::NONE,
        expires: 0,
    };
    let mut learned = Learned {
        key,
        time: 1,
        slot,
        length: u32::try_from(name.len())?,
        hosts: [nothing; HOSTS],
        name: [0; NAME],
    };
    learned.name[..name.len()].copy_from_slice(&name);
    learned.hosts[2] = LearnedHost {
        host: pattern::id(&Host::new(WILDCARD)),
        expires,
    };
    bpf::put(&map(place, maps::LEARNED), &key, &learned)?;
    put_slot(place, (owner, SlotsKey::ADDRESS), slot, key.address.halves())?;
    let learner = Learner {
        addresses: u64::from(slot) + 1,
        ..Learner::default()
    };
    bpf::put(&map(place, maps::LEARNERS), &owner, &learner)
}

/// What `enforcer names` says.
fn names(place: &Place, arguments: &[&str]) -> Result<serde_json::Value> {
    let output = place
        .command(&[&["names", "-o", "json"], arguments].concat())
        .output()?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn names_are_listed_with_how_they_are_known() {
    check(|place, _daemon| {
        give(place, u64::MAX)?;
        let all = names(place, &[])?;
        let rows = all["names"].as_array().context("it is a list")?;
        let row = |source: &str| {
            rows.iter()
                .find(|row| row["source"] == source)
                .context("it is there")
        };
        let declared = row("declared")?;
        assert_eq!(
            (&declared["host"], &declared["address"]),
            (&"other.example".into(), &"192.0.2.20".into())
        );
        let learned = row("learned")?;
        assert_eq!(learned["host"], "api.learned.example");
        assert_eq!(learned["pattern"], WILDCARD);
        assert_eq!(learned["address"], "198.51.100.1");
        assert_eq!(learned["workload"], "frontend/web");
        assert!(learned["ageSeconds"].as_f64() > Some(1.0), "{learned}");
        assert!(learned["expiresInSeconds"].as_f64() > Some(1.0), "{learned}");
        assert_eq!((rows.len(), &all["leftOut"]), (2, &0.into()));
        give(place, 1)?;
        let of_one = names(place, &["--workload", "frontend/web"])?;
        let [learned] = &of_one["names"].as_array().context("it is a list")?[..] else {
            panic!("{of_one}");
        };
        assert!(learned["expiresInSeconds"].as_f64() < Some(0.0), "{learned}");
        let unknown = place
            .command(&["names", "--workload", "frontend/other"])
            .output()?;
        assert_eq!(unknown.status.code(), Some(2));
        assert!(String::from_utf8(unknown.stderr)?.contains("no workload frontend/other is there"));
        Ok(())
    });
}

/// Has the cgroup asked, and been given a name, beside what [`give`] has.
fn ask(place: &Place, owner: CgroupId) -> Result<()> {
    let (cookie, id) = (7, [1, 2, 0, 0, 0, 0, 0, 0]);
    let question = Question {
        time: 1,
        length: 0,
        slot: 1,
        local: 0,
        pad: 0,
        bytes: [0; QUESTION],
    };
    let key = QuestionKey { owner, cookie, id };
    bpf::put(&map(place, maps::QUESTIONS), &key, &question)?;
    put_slot(
        place,
        (owner, SlotsKey::QUESTION),
        1,
        [cookie, u64::from_ne_bytes(id)],
    )?;
    let learner = Learner {
        addresses: 1,
        questions: 2,
        displaced: 0,
    };
    bpf::put(&map(place, maps::LEARNERS), &owner, &learner)
}

/// Writes who has a slot.
fn put_slot(place: &Place, (owner, kind): (CgroupId, u32), slot: u32, who: [u64; 2]) -> Result<()> {
    let row = slot / Slots::LENGTH;
    let (map, key) = (map(place, maps::SLOTS), SlotsKey { owner, row, kind });
    if !bpf::keys::<SlotsKey, Slots>(&map)?.contains(&key) {
        bpf::put(&map, &key, &Slots::UNUSED)?;
    }
    bpf::change(&map, &key, |slots: &mut Slots| {
        slots.0[(slot % Slots::LENGTH) as usize] = Slot(who);
    })
}

/// Who has something in the maps of what is learned: addresses, names, questions, slots, and a place among the learners.
fn owners(place: &Place) -> Result<[BTreeSet<CgroupId>; 5]> {
    let pin = |name| map(place, name);
    let learned = bpf::keys::<LearnedKey, Learned>(&pin(maps::LEARNED))?;
    let named = bpf::keys::<LearnedKey, Named>(&pin(maps::NAMED))?;
    let questions = bpf::keys::<QuestionKey, Question>(&pin(maps::QUESTIONS))?;
    let slots = bpf::keys::<SlotsKey, Slots>(&pin(maps::SLOTS))?;
    let learners = bpf::keys::<CgroupId, Learner>(&pin(maps::LEARNERS))?;
    Ok([
        learned.iter().map(|key| key.owner).collect(),
        named.iter().map(|key| key.owner).collect(),
        questions.iter().map(|key| key.owner).collect(),
        slots.iter().map(|key| key.owner).collect(),
        learners.into_iter().collect(),
    ])
}

#[test]
fn what_was_learned_goes_with_its_workload_and_not_before() {
    check(|place, daemon| {
        let web = workload(place)?;
        let earlier = CgroupId(web.0 + (1 << 40));
        daemon.end(Signal::SIGTERM)?;
        for owner in [web, earlier] {
            give_to(place, owner, 1)?;
            call_to(place, owner, "203.0.113.9", &message::name("api.stripe.example"))?;
            ask(place, owner)?;
        }
        let both = BTreeSet::from([web, earlier]);
        assert_eq!(owners(place)?, [(); 5].map(|()| both.clone()));
        *daemon = place.start(&[])?;
        let only_web = [(); 5].map(|()| BTreeSet::from([web]));
        wait("the end of what an earlier workload had", || {
            Ok(owners(place)? == only_web)
        })?;
        place.remove_cgroup("frontend")?;
        let nobody = [(); 5].map(|()| BTreeSet::new());
        wait(
            "the end of what the workload had",
            || Ok(owners(place)? == nobody),
        )
    });
}

/// Has the workload been given an address for a name that no rule has.
fn call(place: &Place, address: &str, sent: &[u8]) -> Result<()> {
    call_to(place, workload(place)?, address, sent)
}

fn call_to(place: &Place, owner: CgroupId, address: &str, sent: &[u8]) -> Result<()> {
    let key = LearnedKey {
        owner,
        address: address.parse::<IpAddr>()?.into(),
    };
    let mut named = Named {
        time: 1,
        length: u32::try_from(sent.len())?,
        pad: 0,
        name: [0; NAME],
    };
    named.name[..sent.len()].copy_from_slice(sent);
    bpf::put(&map(place, maps::NAMED), &key, &named)
}

#[test]
fn status_says_how_much_was_learned_or_why_nothing_is() {
    check(|place, daemon| {
        let learning = place.status()?.1.learning;
        assert_eq!(
            (learning.absent, learning.addresses, learning.workloads),
            (None, 0, 0)
        );
        give(place, u64::MAX)?;
        let learning = place.status()?.1.learning;
        assert_eq!((learning.addresses, learning.workloads), (1, 1));
        let text = String::from_utf8(place.command(&["status"]).output()?.stdout)?;
        assert!(
            text.contains("; learned 1 addresses of 1 workloads; answers 0, ignored 0\n"),
            "{text}"
        );
        daemon.end(Signal::SIGTERM)?;
        place.configure(&CONFIG.replace("timeout: 100ms", "timeout: 100ms, learn: {enabled: false}"))?;
        *daemon = place.start(&[])?;
        let why = place.status()?.1.learning.absent;
        assert_eq!(
            why.as_deref(),
            Some("the configuration has it off (dns.learn.enabled)")
        );
        Ok(())
    });
}

#[test]
fn refusal_says_the_name_that_was_asked_for() {
    check(|place, daemon| {
        call(place, "203.0.113.9", &message::name("api.stripe.example"))?;
        assert!(!place.reaches("frontend", "203.0.113.9:443")?);
        daemon.line(&[
            "denied frontend/web",
            "-> tcp api.stripe.example (203.0.113.9:443): ",
            "for host api.stripe.example, port 443",
        ])?;
        call(place, "203.0.113.10", b"\x06a\x1b[1m\n\0")?;
        assert!(!place.reaches("frontend", "203.0.113.10:443")?);
        daemon.line(&[
            r"-> tcp a\027\0911m\010 (203.0.113.10:443): ",
            "for address 203.0.113.10, port 443",
        ])?;
        call(place, "203.0.113.11", b"\x07a")?;
        assert!(!place.reaches("frontend", "203.0.113.11:443")?);
        daemon.line(&["-> tcp 203.0.113.11:443: "])?;
        give(place, u64::MAX)?;
        assert!(!place.reaches("frontend", "198.51.100.1:444")?);
        daemon.line(&[
            "-> tcp api.learned.example (198.51.100.1:444): ",
            "port 444 not declared, nearest 443",
        ])?;
        give(place, 1)?;
        assert!(!place.reaches("frontend", GIVEN)?);
        daemon.line(&[
            "-> tcp api.learned.example (198.51.100.1:443): the answer that gave it this address has expired",
        ])?;
        Ok(())
    });
}

#[test]
fn server_that_was_taken_from_the_trusted_or_put_among_them_is_as_it_was() {
    check(|place, daemon| {
        let trusted = BTreeSet::from(["192.0.2.53:5353".to_owned()]);
        assert_eq!(servers(place)?, trusted);
        let pin = map(place, maps::RESOLVERS);
        let [key] = bpf::keys::<ResolverKey, u32>(&pin)?[..] else {
            panic!("it is one");
        };
        bpf::remove::<ResolverKey, u32>(&pin, &key)?;
        let forged = ResolverKey { port: [0, 1], ..key };
        bpf::put(&pin, &forged, &1_u32)?;
        daemon.line(&["alarm", "changed entries of the maps"])?;
        wait("the trusted servers", || Ok(servers(place)? == trusted))
    });
}

#[test]
fn address_that_was_given_for_a_wildcard_is_reached_until_it_expires() {
    check(|place, _daemon| {
        let _listener = TcpListener::bind(GIVEN)?;
        assert!(!place.reaches("frontend", GIVEN)?, "nobody has given it");
        give(place, u64::MAX)?;
        assert!(place.reaches("frontend", GIVEN)?);
        assert!(!place.reaches("frontend", "198.51.100.1:444")?, "another port");
        assert!(!place.reaches("frontend", "198.51.100.2:443")?, "another address");
        give(place, 1)?;
        assert!(!place.reaches("frontend", GIVEN)?, "it has expired");
        Ok(())
    });
}

#[test]
fn address_that_is_used_counts_on_and_one_that_has_expired_does_not() {
    check(|place, _daemon| {
        let _listener = TcpListener::bind(GIVEN)?;
        let left = |place: &Place| {
            let all = names(place, &["--workload", "frontend/web"])?;
            all["names"][0]["expiresInSeconds"]
                .as_f64()
                .context("it is there")
        };
        give(place, LONG * SECOND)?;
        // What is left of so long says what time it is.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds since the start"
        )]
        let now = LONG - left(place)? as u64;
        give(place, (now + 40) * SECOND)?;
        assert!(
            !place.reaches("frontend", "198.51.100.1:444")?,
            "no rule has the port"
        );
        assert!(left(place)? < 41.0, "what is refused is no use");
        assert!(place.reaches("frontend", GIVEN)?);
        let extended = left(place)?;
        assert!((86_000.0..86_401.0).contains(&extended), "{extended}");
        give(place, (now - 1) * SECOND)?;
        assert!(!place.reaches("frontend", GIVEN)?);
        assert!(left(place)? < 0.0, "what has expired is no longer extended");
        Ok(())
    });
}

#[test]
fn what_was_learned_counts_with_other_capacities_too() {
    check(|place, daemon| {
        let _listener = TcpListener::bind(GIVEN)?;
        give(place, u64::MAX)?;
        for workloads in [500, 1500] {
            daemon.end(Signal::SIGTERM)?;
            place.configure(&format!("{CONFIG}capacities: {{workloads: {workloads}}}\n"))?;
            *daemon = place.start(&[])?;
            daemon.line(&["1 learned addresses are taken over"])?;
            assert!(place.reaches("frontend", GIVEN)?);
            assert!(!place.reaches("frontend", "198.51.100.2:443")?);
        }
        let only_web = BTreeSet::from([workload(place)?]);
        let [learned, _, _, slots, learners] = owners(place)?;
        assert_eq!([learned, slots, learners], [(); 3].map(|()| only_web.clone()));
        Ok(())
    });
}

#[test]
fn connection_to_an_address_that_was_given_stays_when_it_expires_and_ends_with_its_rule() {
    check(|place, daemon| {
        let _listener = TcpListener::bind(GIVEN)?;
        give(place, u64::MAX)?;
        place.probe("frontend")?.hold(Transport::Tcp, GIVEN.parse()?)?;
        give(place, 1)?;
        place.remove("other.yaml")?;
        place.until("frontend", OTHER, false)?;
        let stays = place.probe("frontend")?.held_errno(Duration::from_millis(300))?;
        assert_eq!(stays, None, "it has merely expired, and another entry went");
        place.remove("wild.yaml")?;
        let errno = place.probe("frontend")?.held_errno(PATIENCE)?;
        assert_eq!(errno.context("it is still open")?, libc::ECONNABORTED);
        daemon.line(&["revoked frontend/web -> tcp 198.51.100.1:443"])?;
        Ok(())
    });
}

/// The addresses that anybody was given.
fn learned(place: &Place) -> Result<BTreeSet<IpAddr>> {
    let keys = bpf::keys::<LearnedKey, Learned>(&map(place, maps::LEARNED))?;
    Ok(keys.into_iter().map(|key| key.address.into()).collect())
}

#[test]
fn connection_to_an_address_that_was_given_up_stays_and_ends_with_its_rule() {
    const DISPLACED: &str = GIVEN;
    const BEYOND: &str = "198.51.100.2:443";
    let sharing = |most: u32| {
        let learn = format!("timeout: 100ms, learn: {{addresses: {most}}}");
        CONFIG.replace("timeout: 100ms", &learn)
    };
    check(|place, daemon| {
        daemon.end(Signal::SIGTERM)?;
        place.configure(&sharing(200))?;
        *daemon = place.start(&[])?;
        let _listeners = [TcpListener::bind(DISPLACED)?, TcpListener::bind(BEYOND)?];
        let web = workload(place)?;
        give_at(place, (web, DISPLACED), 0, u64::MAX)?;
        give_at(place, (web, BEYOND), 150, u64::MAX)?;
        let holders = [("frontend", DISPLACED), ("frontend/inner", BEYOND)];
        for (holder, to) in holders {
            place.probe(holder)?.hold(Transport::Tcp, to.parse()?)?;
        }
        daemon.end(Signal::SIGTERM)?;
        place.configure(&sharing(128))?;
        *daemon = place.start(&[])?;
        let displaced: SocketAddr = DISPLACED.parse()?;
        wait("the end of what is beyond the share", || {
            Ok(learned(place)? == BTreeSet::from([displaced.ip()]))
        })?;
        // Whoever answers has done all that it began.
        place.status()?;
        let key = LearnedKey {
            owner: web,
            address: displaced.ip().into(),
        };
        bpf::remove::<LearnedKey, Learned>(&map(place, maps::LEARNED), &key)?;
        place.remove("other.yaml")?;
        place.until("frontend", OTHER, false)?;
        for (holder, to) in holders {
            let stays = place.probe(holder)?.held_errno(Duration::from_millis(300))?;
            assert_eq!(stays, None, "{to}: another entry went");
            assert!(!place.reaches(holder, to)?, "{to}: it has to be asked for again");
        }
        place.remove("wild.yaml")?;
        for (holder, to) in holders {
            let errno = place.probe(holder)?.held_errno(PATIENCE)?;
            assert_eq!(errno.with_context(|| to.to_owned())?, libc::ECONNABORTED);
        }
        Ok(())
    });
}
