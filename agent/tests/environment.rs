//! The environment beats the program. One test, because the variables are the
//! whole process's: each case is a child process of this test binary.

use std::process::{Command, Output};

const CASE: &str = "LOOPTOP_TEST_CASE";

/// Variables, what standard output must hold, lines on standard error.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, usize);

fn child(variables: &[(&str, &str)]) -> Output {
    let me = std::env::current_exe().expect("this test's binary");
    let mut command = Command::new(me);
    command.args([
        "the_environment_beats_the_program",
        "--exact",
        "--nocapture",
    ]);
    command.env(CASE, "1").envs(variables.iter().copied());
    command.output().expect("it starts")
}

/// What the child does: an application that asks for a free port.
fn application() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let agent = looptop_agent::init();
        let again = looptop_agent::init();
        assert_eq!(agent.local_addr(), again.local_addr(), "one agent");
        println!(
            "[running={} address={:?}]",
            agent.is_running(),
            agent.local_addr()
        );
    });
    // Neither the runtime's end nor the process's waits for the agent.
}

#[test]
fn the_environment_beats_the_program() {
    if std::env::var_os(CASE).is_some() {
        return application();
    }
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = |l: &std::net::TcpListener| l.local_addr().expect("bound").to_string();
    let free = address(&bind());
    let listener = bind();
    let in_use = address(&listener);
    let cases: [Case; 4] = [
        (&[("LOOPTOP", "off")], "running=false address=None", 0),
        (
            &[("LOOPTOP_BIND", &free)],
            "running=true address=Some(127.0.0.1:",
            0,
        ),
        (
            &[("LOOPTOP_BIND", &in_use)],
            "running=false address=None",
            2,
        ),
        (
            &[("LOOPTOP_BIND", "non:sense")],
            "running=false address=None",
            2,
        ),
    ];
    for (variables, expected, complaints) in cases {
        let output = child(variables);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{variables:?}: {stderr}");
        assert!(stdout.contains(expected), "{variables:?}: {stdout}");
        // init() was called twice.
        let lines = stderr.lines().filter(|l| l.starts_with("looptop-agent:"));
        assert_eq!(lines.count(), complaints, "{variables:?}: {stderr}");
    }
}
