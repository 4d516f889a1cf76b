//! The short run: some seeds with all faults, and that a seed says all.

use std::process::{Command, Output};

fn simulate(args: &[&str]) -> Output {
    let program = std::env::var_os("CARGO_BIN_EXE_luxchat-simulation");
    Command::new(program.expect("cargo names the program"))
        .args(args)
        .output()
        .expect("the program runs")
}

fn words(output: &Output) -> String {
    let words = [&*output.stdout, &*output.stderr].concat();
    String::from_utf8_lossy(&words).into_owned()
}

#[test]
fn boxes_agree_whatever_breaks() {
    let output = simulate(&["--seeds", "6", "--jobs", "2"]);
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn a_seed_replays_exactly() {
    let runs = [(); 2].map(|()| simulate(&["--seed", "7", "--trace"]));
    assert_eq!(runs[0].status, runs[1].status);
    assert!(words(&runs[0]).lines().count() > 100);
    assert_eq!(words(&runs[0]), words(&runs[1]));
}

#[test]
fn another_seed_is_another_story() {
    let [one, other] = ["8", "9"].map(|seed| simulate(&["--seed", seed]));
    let trace = |output: &Output| {
        let words = words(output);
        words
            .split_once("trace ")
            .expect("there is a trace")
            .1
            .to_owned()
    };
    assert_ne!(trace(&one), trace(&other));
}
