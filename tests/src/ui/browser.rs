//! A headless Chromium with one page.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use enforcer_bpf_build::{find_file, library_path};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::pipe::Pipe;
use crate::{
    daemon::wait,
    fixture::{folder, tied},
};

/// Where distributions have it.
const PROGRAMS: [&str; 4] = [
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/bin/google-chrome",
    "/usr/bin/chromium-browser",
];

/// One at a time: what is measured in one is not what another does.
static ONE: Mutex<()> = Mutex::new(());

/// A browser with one page.
pub struct Browser {
    pipe: Pipe,
    session: String,
    _profile: TempDir,
    _one: MutexGuard<'static, ()>,
}

/// What the page is shown on.
#[derive(Clone, Copy, Debug)]
pub enum Light {
    /// A light screen.
    Light,
    /// A dark one.
    Dark,
}

/// Width and height.
pub type View = (u32, u32);

impl Browser {
    /// Starts one; None, which is said, where there is none.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start() -> Result<Option<Self>> {
        let Some(program) = PROGRAMS.iter().find_map(|path| find_file(path)) else {
            println!("SKIPPED: there is no Chromium: `cargo xtask setup` brings chromium-headless-shell");
            return Ok(None);
        };
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = folder("enforcer-browser-")?;
        let mut command = tied("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .env("HOME", profile.path());
        if let Some(libraries) = library_path(&program) {
            // A library's own ones lie deeper, where it looks for them only if it is installed.
            let folders = env::split_paths(&libraries).flat_map(|folder| [folder.join("pulseaudio"), folder]);
            command.env("LD_LIBRARY_PATH", env::join_paths(folders)?);
        }
        let program = program.display().to_string();
        let data = format!("--user-data-dir={}", profile.path().display());
        // It will not run as root within its sandbox; it sees nothing but the page.
        let arguments = [
            &program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--force-color-profile=srgb",
            &data,
        ];
        let mut pipe = Pipe::start(&mut command, &arguments)?;
        let target = pipe.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let said = || fs::read_to_string(profile.path().join("said")).unwrap_or_default();
        let target = target.with_context(|| format!("the browser says {:?}", said()))?;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = pipe.call(None, "Target.attachToTarget", &attach)?;
        let session = attached["sessionId"].as_str().context("the page has a session")?;
        let mut browser = Self {
            session: session.to_owned(),
            pipe,
            _profile: profile,
            _one: one,
        };
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        let permissions = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]});
        browser
            .pipe
            .call(None, "Browser.grantPermissions", &permissions)?;
        // As if its window were the one in front.
        browser.call("Emulation.setFocusEmulationEnabled", &json!({"enabled": true}))?;
        browser.view((1280, 800))?;
        Ok(Some(browser))
    }

    /// Asks for something of the page.
    ///
    /// # Errors
    /// What the browser says against it.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.pipe.call(Some(&self.session), method, parameters)
    }

    /// Opens an address.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", &json!({"url": url}))?;
        ensure!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
    }

    /// What an expression of JavaScript comes to.
    ///
    /// # Errors
    /// What it throws.
    pub fn value(&mut self, expression: &str) -> Result<Value> {
        let parameters = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let mut outcome = self.call("Runtime.evaluate", &parameters)?;
        if let Some(thrown) = outcome.get("exceptionDetails") {
            bail!("{expression}: {thrown}");
        }
        Ok(outcome["result"]["value"].take())
    }

    /// The same, as text.
    ///
    /// # Errors
    /// What it throws, or that it is none.
    pub fn text(&mut self, expression: &str) -> Result<String> {
        let value = self.value(expression)?;
        let text = value
            .as_str()
            .with_context(|| format!("{expression} is {value}"))?;
        Ok(text.to_owned())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// If it does not come to that.
    pub fn until(&mut self, expression: &str) -> Result<()> {
        let mut last = Value::Null;
        let waited = wait(expression, || {
            last = self.value(expression)?;
            Ok(last.as_bool().unwrap_or_default())
        });
        waited.with_context(|| format!("it is {last}"))
    }

    /// Presses and releases keys, one after the other.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn press(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            let (code, text) = match *key {
                "Enter" => (13, "\r"),
                "Tab" => (9, ""),
                "Escape" => (27, ""),
                "End" => (35, ""),
                "Home" => (36, ""),
                "ArrowLeft" => (37, ""),
                "ArrowUp" => (38, ""),
                "ArrowRight" => (39, ""),
                "ArrowDown" => (40, ""),
                "PageDown" => (34, ""),
                other => bail!("no key is called {other}"),
            };
            for kind in ["keyDown", "keyUp"] {
                let text = if kind == "keyDown" { text } else { "" };
                let event = json!({
                    "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text,
                });
                self.call("Input.dispatchKeyEvent", &event)?;
            }
        }
        Ok(())
    }

    /// Gives the page a size.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn view(&mut self, (width, height): View) -> Result<()> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        Ok(())
    }

    /// Makes it light or dark.
    ///
    /// # Errors
    /// If the browser is gone.
    pub fn light(&mut self, light: Light) -> Result<()> {
        let value = match light {
            Light::Light => "light",
            Light::Dark => "dark",
        };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.call("Emulation.setEmulatedMedia", &features)?;
        // Two frames: what is drawn again is.
        self.value(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))",
        )?;
        Ok(())
    }

    /// Keeps a picture of what is in sight; says where.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn picture(&mut self, name: &str) -> Result<PathBuf> {
        let taken = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        let data = taken["data"].as_str().context("a picture has data")?;
        let folder = artefacts();
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let file = folder.join(name);
        fs::write(&file, BASE64_STANDARD.decode(data)?)?;
        Ok(file)
    }

    /// What the page was refused or has failed at.
    pub fn complaints(&mut self) -> Vec<String> {
        let is_complaint = |event: &&Value| {
            event["method"] == "Runtime.exceptionThrown"
                // What was not answered with 200 is the business of who has asked.
                || (event["method"] == "Log.entryAdded"
                    && event["params"]["entry"]["level"] == "error"
                    && event["params"]["entry"]["source"] != "network")
        };
        let events = self.pipe.gather().iter().filter(is_complaint);
        events.map(|event| event["params"].to_string()).collect()
    }

    /// Every address that the page has asked for.
    pub fn requests(&mut self) -> Vec<String> {
        let asked = self.pipe.gather().iter();
        let asked = asked.filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls = asked.filter_map(|event| event["params"]["request"]["url"].as_str());
        urls.map(str::to_owned).collect()
    }
}

/// Where pictures are kept.
fn artefacts() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let ours = workspace.map(|workspace| workspace.join("target"));
    target.or(ours).unwrap_or_default().join("ui")
}
