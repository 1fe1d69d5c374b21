//! What is tried on the machine, in this order. Each begins where the others end: installed, enforced, running.

mod asked;
mod boots;
mod install;
mod modes;
mod operated;
mod package;
mod users;

use anyhow::Result;

use super::stage::Stage;

/// Finds out whether something holds, and says what it has found.
type Scenario = fn(&mut Stage) -> Result<String>;

/// By their names. Without the first there is nothing to try the others on.
pub(super) const SCENARIOS: [(&str, Scenario); 23] = [
    ("install", install::install),
    ("audit", install::audit),
    ("enforce", install::enforce),
    ("users", users::users),
    ("containers", users::containers),
    ("asked", asked::asked),
    ("started", modes::started),
    ("stopped", modes::stopped),
    ("killed", modes::killed),
    ("failed", modes::failed),
    ("misconfigured", modes::misconfigured),
    ("reload", modes::reload),
    ("added", modes::added),
    ("journal", operated::journal),
    ("exec", operated::exec),
    ("watchdog", operated::watchdog),
    ("upgrade", install::upgrade),
    ("boot", boots::boot),
    ("boot-unresolved", boots::boot_unresolved),
    ("boot-failed", boots::boot_failed),
    ("boot-misconfigured", boots::boot_misconfigured),
    ("uninstall", install::uninstall),
    ("package", package::package),
];
