//! What an owner does beside starting services: reads the journal, waits for a daemon that hangs, types commands.

use anyhow::{Result, ensure};

use super::modes::ROUNDS;
use crate::vm::systemd::stage::Stage;

/// Calls the refused server, then the registered one.
const CALL: &str = "machine call --within 1000 - typed 198.51.100.20:9006 198.51.100.10:9006";

/// The journal has refusals by their priority, by the unit and by the workload, each line without a second time.
pub(super) fn journal(stage: &mut Stage) -> Result<String> {
    stage.run("journalctl --rotate --vacuum-time 1s 2>/dev/null; systemctl restart enforcer")?;
    let tally = stage.restart(1)?.holds_and_serves()?;
    let journal = "journalctl --boot --output cat --no-pager";
    let denied = |text: &str| text.lines().filter(|line| line.starts_with("denied ")).count();
    // The event comes after the refusal.
    let until = |question: &str| {
        stage.run(&format!(
            "for i in $(seq 100); do {question} | grep -q '^denied ' && break; sleep 0.2; done; {question}"
        ))
    };
    let warnings = until(&format!("{journal} --unit enforcer --priority warning"))?;
    ensure!(denied(&warnings) > 0, "no refusal is a warning:\n{warnings}");
    let begin = stage.run(&format!("{journal} --unit enforcer --priority warning"))?;
    ensure!(
        begin.contains("user alice may use cron"),
        "nothing says that cron leads out of a user's slice:\n{begin}"
    );
    let of_tool = until(&format!("{journal} ENFORCER_WORKLOAD=shop/tool"))?;
    ensure!(
        denied(&of_tool) > 0 && of_tool.lines().all(|line| line.contains("shop/tool")),
        "the workload's records are not its refusals:\n{of_tool}"
    );
    let errors = stage.run(&format!("{journal} --unit enforcer --priority err"))?;
    ensure!(denied(&errors) == 0, "a refusal is an error:\n{errors}");
    Ok(format!(
        "{tally}; {} refusals among the warnings, {} of one workload",
        denied(&warnings),
        denied(&of_tool)
    ))
}

/// A daemon that hangs is ended by systemd's watchdog and started again; what is in force stays so meanwhile.
pub(super) fn watchdog(stage: &mut Stage) -> Result<String> {
    let process = "systemctl show --property MainPID --value enforcer";
    let drop_in = "/run/systemd/system/enforcer.service.d/soon.conf";
    stage.run(&format!(
        "mkdir -p $(dirname {drop_in}); printf '[Service]\\nWatchdogSec=20\\n' > {drop_in}
        systemctl daemon-reload; systemctl restart enforcer"
    ))?;
    let before = stage.run(process)?;
    stage.run("systemctl kill --signal STOP --kill-whom main enforcer")?;
    let tally = stage.restart(ROUNDS / 4)?.holds_and_serves();
    let ended = stage.try_run(&format!(
        "for i in $(seq 600); do test \"$({process})\" -gt 0 -a \"$({process})\" != {before} && break; sleep 0.2; done
        for i in $(seq 600); do systemctl is-active --quiet enforcer && break; sleep 0.2; done
        journalctl --boot --unit enforcer --output cat --no-pager --lines 60",
        before = before.trim()
    ))?;
    let after = stage.run(process)?;
    stage.run(&format!(
        "rm {drop_in}; systemctl daemon-reload; systemctl restart enforcer; enforcer status"
    ))?;
    ensure!(before != after, "the process that hangs is still there");
    ensure!(
        ended.text.to_lowercase().contains("watchdog timeout"),
        "something else has ended it:\n{}",
        ended.text
    );
    Ok(format!("ended and started again; meanwhile {}", tally?))
}

/// A command in a workload's slice has the caller's terminal, and its exit status is the caller's.
pub(super) fn exec(stage: &mut Stage) -> Result<String> {
    let exec = "enforcer exec --config /etc/enforcer/enforcer.yaml --namespace shop --name frontend --";
    let called = stage.run(&format!("{exec} {CALL}"))?;
    ensure!(
        called.contains(":9006 errno-1") && called.contains("198.51.100.10:9006 reached"),
        "{called}"
    );
    let status = stage.try_run(&format!("{exec} sh -c 'exit 7'"))?;
    ensure!(status.code == Some(7), "the exit status is {:?}", status.code);
    let signal = stage.try_run(&format!("{exec} sh -c 'kill -TERM $$'"))?;
    ensure!(signal.code == Some(128 + 15), "after SIGTERM: {:?}", signal.code);
    let terminal = stage.run(&format!(
        "script --quiet --return --command \"{exec} sh -c 'test -t 0 && test -t 1 && tty; stty size >/dev/null && echo sized'\" /dev/null"
    ))?;
    ensure!(
        terminal.contains("/dev/pts/") && terminal.contains("sized"),
        "the command has no terminal:\n{terminal}"
    );
    let cgroup = stage.run(&format!("{exec} cat /proc/self/cgroup"))?;
    ensure!(
        cgroup.contains("/frontend.slice/") && cgroup.contains(".scope"),
        "the command is in {cgroup}"
    );
    Ok("enforced, with terminal and exit status".into())
}
