//! Apps that connect in their first instruction, and the servers that count what reaches them.
//!
//! One small static binary, so that it starts within milliseconds also where every instruction is emulated, and runs
//! in a container without anything else.

mod call;
mod serve;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["call", rest @ ..] => call::run(rest),
        ["serve", file, port, addresses @ ..] => serve::run(file, port, addresses),
        _ => Err("call [--until-ended] [--within MILLISECONDS] FILE NAME ADDRESS..., or serve FILE FIRST-LAST IP...".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
