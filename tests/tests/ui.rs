//! The page in a real browser: what it shows, by pointer, keyboard and name, and what it bears.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer::control::Observed;
use enforcer_common::Transport;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    daemon::{PATIENCE, Place},
    fixture::{in_own_network, need_root},
    ui::{Browser, Light, Served, Teller, crowd, hostile, request, status, story},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// The page is there, and has shown what it was told.
const LIVE: &str = "document.querySelector('#link')?.dataset.state === 'good'";

/// Asks for the page's own functions and values, which no other script has.
fn opened(told: Observed) -> Result<Option<(Teller, Served, Browser)>> {
    need_root()?;
    let Some(mut browser) = Browser::start()? else {
        return Ok(None);
    };
    let teller = Teller::new(status(), told)?;
    let served = Served::start(BINARY, &teller.state())?;
    browser.open(&served.url)?;
    browser.until(LIVE)?;
    Ok(Some((teller, served, browser)))
}

/// What the rows of one list say, in order, once what has changed is drawn.
fn rows(browser: &mut Browser, list: &str) -> Result<Vec<String>> {
    let of = format!(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(\
         [...document.querySelectorAll('#{list} .row:not([hidden])')].sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)\
         .map((row) => row.querySelector('.name').textContent)))))"
    );
    Ok(serde_json::from_value(browser.value(&of)?)?)
}

#[test]
fn page_shows_who_reaches_what_and_what_would_allow_the_rest() {
    let claim = || -> Result<()> {
        let Some((_teller, served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        assert_eq!(
            browser.text("location.href")?,
            format!("http://{}/", served.address),
            "the token is not shown"
        );
        assert!(
            browser
                .text("document.querySelector('#health').textContent")?
                .contains("Enforcement is proven")
        );
        let from = rows(&mut browser, "from")?;
        assert_eq!(from[..3], ["analytics", "importer-29114", "build"]);
        let to = rows(&mut browser, "to")?;
        assert_eq!(to[0], "203.0.113.77:8443", "what is refused comes first: {to:?}");
        let table = "[...document.querySelectorAll('#rows tr')].map((row) => row.innerText.replaceAll('\\n', ' ')).join('\\n')";
        let table = browser.text(table)?;
        for words in [
            "add frontend to exportTo of ServiceEntry payments/ledger",
            "tracker.example.net is not registered",
            "[2001:db8::17]:443",
            "audit",
            "unregistered",
        ] {
            assert!(table.contains(words), "{words} is not in {table}");
        }
        assert!(
            !table.contains("198.51.100.9"),
            "probes are not counted among refusals"
        );
        let drawn = "(() => { const { width, height } = canvas; const { data } = pen.getImageData(0, 0, width, height); \
                     return data.some((byte) => byte > 0); })()";
        // The page is a module, whose names nobody else has; what it has drawn is seen in the picture's bytes.
        let drawn = drawn
            .replace("canvas;", "document.querySelector('#flows');")
            .replace("pen.", "document.querySelector('#flows').getContext('2d').");
        assert_eq!(browser.value(&drawn)?, json!(true), "no line is drawn");
        assert_eq!(browser.complaints().join("\n"), "");
        let origin = format!("http://{}/", served.address);
        let elsewhere: Vec<_> = browser
            .requests()
            .into_iter()
            .filter(|url| !url.starts_with(&origin) && url != "data:,")
            .collect();
        assert_eq!(elsewhere.join("\n"), "", "nothing is loaded from elsewhere");
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn pictures_are_taken_in_light_and_dark_wide_and_narrow() {
    let claim = || -> Result<()> {
        let Some((_teller, _served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        for (light, name) in [(Light::Light, "light"), (Light::Dark, "dark")] {
            browser.light(light)?;
            if matches!(light, Light::Dark) {
                let choose = "[...document.querySelectorAll('#to .row')]\
                              .find((row) => row.textContent.includes('tracker')).click()";
                browser.value(choose)?;
                browser.until("document.querySelector('#details pre')?.textContent.includes('tracker')")?;
            }
            for (view, size) in [((1280, 800), ""), ((390, 844), "-narrow")] {
                browser.view(view)?;
                browser.light(light)?;
                let file = browser.picture(&format!("ui-{name}{size}.png"))?;
                assert!(fs::metadata(&file)?.len() > 10_000, "{} is empty", file.display());
                assert_eq!(
                    browser.value("document.documentElement.scrollWidth <= innerWidth")?,
                    json!(true),
                    "{name}{size} is wider than the screen"
                );
            }
            browser.view((1280, 800))?;
        }
        Ok(())
    };
    claim().unwrap();
}

/// The least contrast of any text in sight with what is behind it, and that text; what is disabled is not looked at.
const CONTRAST: &str = r"(() => {
  const parse = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const over = (top, under) => { const a = top[3] ?? 1; return [0, 1, 2].map((i) => top[i] * a + under[i] * (1 - a)); };
  const back = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = [99, ''];
  let looked = 0;
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || !node.checkVisibility() || node.closest('script, style, :disabled, option')) continue;
    const under = back(node);
    const [a, b] = [light(over(parse(getComputedStyle(node).color), under)), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    looked += 1;
    if (ratio < least[0]) least = [ratio, text];
  }
  return { looked, ratio: least[0], text: least[1] };
})()";

#[test]
fn text_stands_out_in_light_and_dark() {
    let claim = || -> Result<()> {
        let Some((_teller, _served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        browser.value("document.querySelector('.node').open = true")?;
        for light in [Light::Light, Light::Dark] {
            browser.light(light)?;
            // Colours change within a moment, also where nothing moves.
            browser.until("document.getAnimations().length === 0")?;
            let least = browser.value(CONTRAST)?;
            assert!(least["looked"].as_u64() > Some(150), "{least}");
            assert!(least["ratio"].as_f64() >= Some(4.5), "{light:?}: {least}");
            println!("{light:?}: least contrast {least}");
        }
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn keyboard_alone_finds_a_refusal_and_its_entry() {
    let claim = || -> Result<()> {
        let Some((_teller, _served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        let focused = "document.activeElement.id";
        let active = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))?.querySelector('.name').textContent";
        for _ in 0..20 {
            browser.press(&["Tab"])?;
            if browser.text(focused)? == "from" {
                break;
            }
        }
        assert_eq!(browser.text(focused)?, "from", "Tab leads to the workloads");
        browser.until(&format!("{active} === 'analytics'"))?;
        browser.press(&["End"])?;
        browser.until(&format!("{active} === 'gateway-0'"))?;
        browser.press(&["Enter"])?;
        browser.until("document.querySelector('#details-title').textContent === 'payments/gateway-0'")?;
        assert_eq!(
            rows(&mut browser, "to")?,
            [
                "203.0.113.77:8443",
                "bank.example.org:443",
                "ledger.example.com:5432"
            ]
        );
        browser.press(&["ArrowRight", "Home", "Enter"])?;
        browser.until("document.querySelector('#details pre')?.textContent.includes('203.0.113.77')")?;
        let said = browser.text("document.querySelector('#say').textContent")?;
        assert!(said.contains("1 flow"), "what was chosen is told: {said}");
        browser.press(&["Escape"])?;
        browser.until("document.querySelector('#details-title').textContent === 'Nothing is chosen'")?;
        // The ring is drawn by the browser where the focus is.
        let ring = "getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(browser.text(ring)?, "solid");
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn whoever_hears_the_page_has_names_and_roles_for_all_of_it() {
    let claim = || -> Result<()> {
        let Some((_teller, _served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        rows(&mut browser, "to")?;
        let tree = browser.call("Accessibility.getFullAXTree", &json!({}))?;
        let nodes = tree["nodes"].as_array().context("a tree has nodes")?;
        let nodes: Vec<(&str, &str)> = nodes
            .iter()
            .filter(|node| node["ignored"] != true)
            .map(|node| {
                let text = |key: &str| node[key]["value"].as_str().unwrap_or_default();
                (text("role"), text("name"))
            })
            .collect();
        for role in [
            "button",
            "checkbox",
            "combobox",
            "listbox",
            "option",
            "searchbox",
            "table",
            "columnheader",
            "heading",
        ] {
            let of_role = nodes.iter().filter(|(found, _)| *found == role);
            assert!(of_role.clone().count() > 0, "there is no {role}");
            let nameless: Vec<_> = of_role.filter(|(_, name)| name.is_empty()).collect();
            assert!(nameless.is_empty(), "a {role} has no name");
        }
        let has = |role: &str, part: &str| {
            nodes
                .iter()
                .any(|(found, name)| *found == role && name.contains(part))
        };
        assert!(
            has("listbox", "Workloads") && has("listbox", "Destinations"),
            "{nodes:?}"
        );
        assert!(
            has("option", "tracker.example.net:443") && has("option", "denied"),
            "a verdict is told by its word"
        );
        assert!(has(
            "button",
            "Copy the ServiceEntry that would allow payments/gateway-0 to reach 203.0.113.77:8443"
        ));
        assert_eq!(browser.text("document.documentElement.lang")?, "en");
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn copy_button_copies_an_entry_that_check_takes() {
    let claim = || -> Result<()> {
        let Some((_teller, _served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        let click = "[...document.querySelectorAll('#rows tr')].find((row) => row.innerText.includes('tracker.example.net')).querySelector('.copy').click()";
        browser.value(click)?;
        browser.until("document.querySelector('#say').textContent.includes('is copied')")?;
        let copied = browser.text("navigator.clipboard.readText()")?;
        assert!(
            copied.contains("- tracker.example.net\n") && copied.contains("namespace: frontend\n"),
            "{copied}"
        );
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("entry.yaml");
        fs::write(&file, &copied)?;
        let checked = Command::new(BINARY).arg("check").arg(&file).output()?;
        assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&checked.stdout)
        );
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn names_stay_text_whatever_they_are() {
    let claim = || -> Result<()> {
        let Some((_teller, _served, mut browser)) = opened(hostile())? else {
            return Ok(());
        };
        assert_eq!(browser.text("document.title")?, "enforcer");
        assert_eq!(
            browser.value("document.querySelectorAll('img, svg, b, script:not([nonce])').length")?,
            json!(0)
        );
        let to = rows(&mut browser, "to")?;
        assert!(
            to.iter()
                .any(|name| name == "<script>document.title='broken'</script>:443"),
            "{to:?}"
        );
        assert!(
            to.iter()
                .any(|name| name == "a\\u{a}b\\u{202e}moc.elpmaxe\\u{0}:443"),
            "{to:?}"
        );
        assert!(
            to.iter().any(|name| name == "__proto__:443") && to.iter().any(|name| name == "constructor:443")
        );
        assert!(
            to.iter().all(|name| name.chars().count() < 400),
            "long names are cut"
        );
        // All of it once more in the details, the filters and the table.
        browser.value("document.querySelector('#to .row').click()")?;
        browser.until("document.querySelector('#details article') !== null")?;
        assert_eq!(browser.value("document.querySelectorAll('#rows tr').length > 0 && document.querySelectorAll('#rows img').length === 0")?, json!(true));
        assert_eq!(browser.text("document.title")?, "enforcer");
        assert_eq!(browser.complaints().join("\n"), "");
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn enforcer_that_ends_is_said_and_found_again() {
    let claim = || -> Result<()> {
        let Some((mut teller, mut served, mut browser)) = opened(story())? else {
            return Ok(());
        };
        teller.end()?;
        browser.until("document.querySelector('#link').textContent.includes('Not connected')")?;
        assert!(
            browser
                .text("document.querySelector('#problems').textContent")?
                .contains("no enforcer answers")
        );
        assert!(
            browser
                .text("document.querySelector('#health').textContent")?
                .contains("not known")
        );
        assert!(
            !rows(&mut browser, "to")?.is_empty(),
            "what was known stays in sight"
        );
        teller.begin()?;
        let mut ill = status();
        ill.problems = vec!["connect4 does not run at /kubepods.slice".to_owned()];
        ill.judge();
        teller.tell(ill, Observed::default());
        browser.until(LIVE)?;
        browser.until("document.querySelector('#health').textContent.includes('NOT proven')")?;
        assert!(
            browser
                .text("document.querySelector('#problems').textContent")?
                .contains("connect4 does not run")
        );
        browser.until(
            "document.querySelectorAll('#rows tr').length === 0 && !document.querySelector('#none').hidden",
        )?;
        served.end()?;
        browser
            .until("document.querySelector('#problems').textContent.includes('has `enforcer ui` ended?')")?;
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn page_without_its_token_asks_for_it_and_shows_nothing() {
    let claim = || -> Result<()> {
        need_root()?;
        let Some(mut browser) = Browser::start()? else {
            return Ok(());
        };
        let teller = Teller::new(status(), story())?;
        let served = Served::start(BINARY, &teller.state())?;
        browser.open(&format!("http://{}/#token=0000", served.address))?;
        browser.until("!document.querySelector('#ask').hidden && document.querySelector('#main').hidden")?;
        assert_eq!(teller.asked(), 0, "who has no token has nobody asked");
        let give = format!(
            "document.querySelector('#token').value = '{}'; document.querySelector('#ask').requestSubmit()",
            served.token
        );
        browser.value(&give)?;
        browser.until(LIVE)?;
        browser.call("Page.reload", &json!({}))?;
        browser.until(LIVE)?;
        Ok(())
    };
    claim().unwrap();
}

/// Waits for so many updates within the page, and says how often it has looked: a few times in an update, or in each frame
/// with what is done there.
fn updates(browser: &mut Browser, number: usize, in_each_frame: Option<&str>) -> Result<f64> {
    let again = match in_each_frame {
        None => "setTimeout(look, 300)".to_owned(),
        Some(work) => format!("{{ {work}; requestAnimationFrame(look); }}"),
    };
    let waiting = format!(
        "new Promise((done) => {{ const until = performance.getEntriesByName('shown').length + {number}; let looks = 0; \
         const look = () => {{ looks += 1; \
         if (performance.getEntriesByName('shown').length >= until) done(looks); else {again}; }}; look(); }})"
    );
    let looks = browser.value(&waiting)?;
    looks.as_f64().context("looks are counted")
}

/// Tasks of 50 ms and more, from now on.
const WATCH: &str = "window.long = []; new PerformanceObserver((list) => window.long.push(...list.getEntries()\
                     .map((entry) => entry.duration))).observe({ type: 'longtask' }); true";

const SCROLL: &str = "for (const id of ['from', 'to']) document.getElementById(id).scrollTop += 97";

#[test]
fn two_thousand_destinations_change_each_second_without_a_stutter() {
    let claim = || -> Result<()> {
        need_root()?;
        let Some(mut browser) = Browser::start()? else {
            return Ok(());
        };
        let tell = |question: usize| (status(), crowd(2000, u64::try_from(question).unwrap_or_default()));
        let teller = Teller::with(Box::new(tell))?;
        let served = Served::start(BINARY, &teller.state())?;
        // Time of the page's own thread, since other processes may have the processors.
        browser.call("Performance.enable", &json!({"timeDomain": "threadTicks"}))?;
        browser.open(&served.url)?;
        browser.until(LIVE)?;
        assert_eq!(
            browser.text("document.querySelector('#to-count').textContent")?,
            "2,000"
        );
        let elements = browser.value("document.querySelectorAll('*').length")?;
        assert!(elements.as_u64() < Some(3000), "{elements} elements");
        browser.value(WATCH)?;
        let start = busy(&mut browser)?;
        updates(&mut browser, 8, None)?;
        let still = busy(&mut browser)?;
        let frames = updates(&mut browser, 8, Some(SCROLL))?;
        let scrolled = busy(&mut browser)?;
        let update = (still - start) * 1000.0 / 8.0;
        let frame = (scrolled - still) * 1000.0 / frames;
        let shown =
            "performance.getEntriesByName('shown').map((entry) => entry.duration).sort((a, b) => a - b)";
        let shown: Vec<f64> = serde_json::from_value(browser.value(shown)?)?;
        let long: Vec<f64> = serde_json::from_value(browser.value("window.long")?)?;
        println!(
            "2,000 destinations, all of which change: the page's thread works {update:.1} ms for an update with all that is \
             drawn, {frame:.1} ms for a frame in which both lists are scrolled ({frames} frames); by the clock, beside \
             whatever else runs, an update takes {:.1} ms in the median, and {} tasks took 50 ms or more",
            shown[shown.len() / 2],
            long.len(),
        );
        assert!(still > start, "the thread's time is not measured");
        // Several tasks together, on a machine that may have much else to do: no more than a part of each second.
        assert!(update < 200.0, "an update takes {update} ms");
        assert!(frame < 50.0, "a frame takes {frame} ms");
        browser.picture("ui-crowd.png")?;
        assert_eq!(browser.complaints().join("\n"), "");
        Ok(())
    };
    claim().unwrap();
}

/// Seconds that the page's thread has worked.
fn busy(browser: &mut Browser) -> Result<f64> {
    let metrics = browser.call("Performance.getMetrics", &json!({}))?;
    let metrics = metrics["metrics"].as_array().context("there are metrics")?;
    let task = metrics.iter().find(|metric| metric["name"] == "TaskDuration");
    task.and_then(|metric| metric["value"].as_f64())
        .context("tasks take time")
}

#[test]
fn nobody_comes_in_without_the_token_by_another_name_or_with_another_method() {
    let claim = || -> Result<()> {
        need_root()?;
        let teller = Teller::new(status(), story())?;
        let served = Served::start(BINARY, &teller.state())?;
        let code = |head: &str| Ok::<_, anyhow::Error>(request(served.address, head)?.code);
        let token = format!("Authorization: Bearer {}\n", served.token);
        let host = format!("Host: {}\n", served.address);
        for path in ["/api/status", "/api/observations", "/api/entry?port=1", "/else"] {
            assert_eq!(code(&format!("GET {path} HTTP/1.1\n{host}"))?, 401, "{path}");
            assert_eq!(
                code(&format!("GET {path}?token={} HTTP/1.1\n{host}", served.token))?,
                401,
                "{path}"
            );
            assert_eq!(
                code(&format!("GET {path} HTTP/1.1\nHost: evil.example\n{token}"))?,
                421,
                "{path}"
            );
            assert_eq!(
                code(&format!("POST {path} HTTP/1.1\n{host}{token}"))?,
                405,
                "{path}"
            );
        }
        assert_eq!(teller.asked(), 0);
        assert_eq!(code(&format!("GET /else HTTP/1.1\n{host}{token}"))?, 404);
        assert_eq!(
            code(&format!("GET / HTTP/1.1\n{host}X: {}\n", "x".repeat(40_000)))?,
            431
        );
        let page = request(served.address, &format!("GET / HTTP/1.1\n{host}"))?;
        assert_eq!(page.code, 200);
        assert!(
            !page.body.contains(&served.token),
            "the page alone does not have the token"
        );
        for line in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
        ] {
            assert!(page.head.contains(line), "{line} is not in {}", page.head);
        }
        assert!(!page.head.contains("access-control"), "{}", page.head);
        let all = request(
            served.address,
            &format!("GET /api/observations HTTP/1.1\n{host}{token}"),
        )?;
        let tag = all
            .head
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .context("there is a tag")?;
        let again = request(
            served.address,
            &format!("GET /api/observations HTTP/1.1\n{host}{token}If-None-Match: {tag}\n"),
        )?;
        assert_eq!((again.code, again.body.as_str()), (304, ""));
        let told: Value = serde_json::from_str(&all.body)?;
        assert_eq!(
            told["observations"].as_array().map(Vec::len),
            Some(story().observations.len())
        );
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn enforcer_is_asked_once_a_second_however_many_look() {
    let claim = || -> Result<()> {
        need_root()?;
        let teller = Teller::new(status(), story())?;
        let served = Served::start(BINARY, &teller.state())?;
        let head = format!(
            "GET /api/observations HTTP/1.1\nHost: {}\nAuthorization: Bearer {}\n",
            served.address, served.token
        );
        let start = Instant::now();
        let looks: usize = thread::scope(|scope| {
            let look = || {
                let mut looks = 0;
                while start.elapsed() < Duration::from_secs(3) {
                    assert_eq!(request(served.address, &head).unwrap().code, 200);
                    looks += 1;
                }
                looks
            };
            let lookers: Vec<_> = (0..10).map(|_| scope.spawn(look)).collect();
            lookers.into_iter().map(|looker| looker.join().unwrap()).sum()
        });
        let seconds = start.elapsed().as_secs();
        assert!(looks > 20, "{looks}");
        assert!(
            teller.asked() as u64 <= seconds + 1,
            "asked {} times in {seconds} s for {looks} looks",
            teller.asked()
        );
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn connections_that_say_nothing_or_never_read_keep_nobody_out_for_long() {
    let claim = || -> Result<()> {
        need_root()?;
        let teller = Teller::new(status(), crowd(2000, 0))?;
        let served = Served::start(BINARY, &teller.state())?;
        let mut silent: Vec<_> = (0..80)
            .map(|_| TcpStream::connect(served.address))
            .collect::<Result<_, _>>()?;
        let start = Instant::now();
        let page = request(
            served.address,
            &format!("GET / HTTP/1.1\nHost: {}\n", served.address),
        )?;
        assert_eq!(page.code, 200);
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        let first = &mut silent[0];
        first.set_read_timeout(Some(PATIENCE))?;
        let mut rest = Vec::new();
        first.read_to_end(&mut rest)?;
        // A head that never ends, a byte at a time, is not waited for either.
        let mut slow = TcpStream::connect(served.address)?;
        slow.write_all(b"GET / HTTP/1.1\r\n")?;
        slow.set_read_timeout(Some(PATIENCE))?;
        rest.clear();
        slow.read_to_end(&mut rest)?;
        assert!(!String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 200"));
        Ok(())
    };
    claim().unwrap();
}

#[test]
fn address_that_others_reach_is_refused_unless_it_is_meant() {
    let refused = Command::new(BINARY)
        .args(["ui", "--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        error.contains("is no loopback address: with --allow-remote"),
        "{error}"
    );
}

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/web}
- {namespace: batch, name: jobs, cgroup: $CGROUP/jobs, mode: audit}
ui: {listen: '127.0.0.1:9901'}
";

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: frontend}
spec:
  hosts: [api.example.com]
  addresses: [192.0.2.10]
  resolution: STATIC
  endpoints: [{address: 192.0.2.10}]
  ports: [{number: 443, name: tcp, protocol: TCP}]
";

#[test]
fn running_enforcer_shows_what_its_workloads_do_as_they_do_it() {
    let claim = || -> Result<()> {
        need_root()?;
        let Some(mut browser) = Browser::start()? else {
            return Ok(());
        };
        let mut place = Place::new(BINARY, CONFIG)?;
        place.write("api.yaml", ENTRY)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        let line = daemon.line(&["the page is served at http://127.0.0.1:9901/"])?;
        let file = place.state().join("ui.token");
        assert!(line.contains(&file.display().to_string()), "{line}");
        let token = fs::read_to_string(&file)?;
        assert!(!line.contains(token.trim()), "the log does not have the token");
        browser.open(&format!("http://127.0.0.1:9901/#token={}", token.trim()))?;
        browser.until(LIVE)?;
        place.call("web", Transport::Tcp, "192.0.2.10:443")?;
        place.call("web", Transport::Tcp, "192.0.2.66:8443")?;
        place.call("jobs", Transport::Tcp, "192.0.2.77:80")?;
        browser.until("document.querySelector('#to-count').textContent === '3'")?;
        assert_eq!(rows(&mut browser, "from")?, ["batch", "jobs", "frontend", "web"]);
        assert_eq!(
            rows(&mut browser, "to")?,
            ["192.0.2.66:8443", "192.0.2.77:80", "api.example.com:443"]
        );
        browser.until("document.querySelector('#health').textContent.includes('is proven')")?;
        let entry = "[...document.querySelectorAll('#rows tr')].find((row) => row.innerText.includes('192.0.2.66')).querySelector('.link').click()";
        browser.value(entry)?;
        browser.until("document.querySelector('#details pre')?.textContent.includes('192.0.2.66')")?;
        let entry = browser.text("document.querySelector('#details pre').textContent")?;
        place.write("more.yaml", &entry)?;
        place.until("web", "192.0.2.66:8443", true)?;
        // The same page by a process of its own.
        let served = Served::start(BINARY, &place.state())?;
        browser.open(&served.url)?;
        browser.until(LIVE)?;
        // What is allowed by now has the name that the entry gives to the address.
        browser.until("document.querySelector('#to-count').textContent === '4'")?;
        assert!(rows(&mut browser, "to")?.contains(&"192-0-2-66.invalid:8443".to_owned()));
        assert_eq!(browser.complaints().join("\n"), "");
        // An end of the page's server is no end of the enforcer, and the other way round.
        daemon.end(Signal::SIGTERM)?;
        browser.until("document.querySelector('#link').textContent.includes('Not connected')")?;
        Ok(())
    };
    in_own_network(claim).unwrap();
}

#[test]
fn page_that_cannot_be_served_keeps_nobody_from_being_enforced() {
    let claim = || -> Result<()> {
        need_root()?;
        let taken = std::net::TcpListener::bind("127.0.0.1:9901")?;
        let mut place = Place::new(BINARY, CONFIG)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&[
            "the page is not served",
            "127.0.0.1:9901",
            "enforcement is not affected",
        ])?;
        assert!(!place.reaches("web", "192.0.2.66:8443")?);
        drop(taken);
        daemon.line(&["the page is served at http://127.0.0.1:9901/"])?;
        Ok(())
    };
    in_own_network(claim).unwrap();
}
