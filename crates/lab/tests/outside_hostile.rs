//! Peers that are dead, slow or wrong end a run in time, with what is wrong and where.

mod common;

use std::time::{Duration, Instant};

use common::{Still, scenario};
use halcyon_lab::outside::{Limits, Outside, PolicyRun, WorldRun};

fn outside(command: &str) -> Outside {
    let limits = Limits { deadline: Duration::from_millis(400), longest_line: 64 << 10 };
    Outside { command: command.into(), limits, seed: 1 }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// How a world fails under the policy that changes things most.
fn world_fails(command: &str) -> String {
    let started = Instant::now();
    let outcome = WorldRun::new(&outside(command), "proportional").and_then(|mut run| {
        while !run.is_over() {
            run.tick(&Still)?;
        }
        Ok(run.finish().map(|result| result.score))
    });
    let error = outcome.expect_err("it is wrong");
    assert!(started.elapsed() < Duration::from_secs(20), "in time");
    chain(&error)
}

fn policy_fails(command: &str) -> String {
    let started = Instant::now();
    let scenario = scenario(4, Duration::from_secs(30), 3);
    let outcome = PolicyRun::new(&scenario, "mine", &outside(command), false).and_then(|mut run| {
        while !run.is_over() {
            run.tick(&Still)?;
        }
        Ok(run.finish().score)
    });
    let error = outcome.expect_err("it is wrong");
    assert!(started.elapsed() < Duration::from_secs(20), "in time");
    chain(&error)
}

fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

const OPEN: &str = concat!(
    r#"{"schema":1,"type":"world","host":{"name":"h","sockets":[{"name":"s","cores":4}],"#,
    r#""memory":[{"name":"m","on":{"socket":0},"bytes":8000000000,"bandwidth_bytes_per_s":1000000000}]},"#,
    r#""changes":{"cpu":{}},"vms":[{"name":"web","vcpus":4,"memory_bytes":{"reservation":1000,"limit":1000}}],"#,
    r#""held":{"vms":[{"vm":"web","cpu_milli":{"share":1000,"ceiling":1000},"#,
    r#""memory":[{"node":0,"bytes":1000}]}]},"duration_s":10,"step_s":1}"#
);
const FIRST: &str = r#"{"schema":1,"type":"snapshot","cycle":1,"at_s":1,"vms":[{"vm":"web"}]}"#;

/// A world that says lines, each after the plan for the one before.
fn says(lines: &[&str]) -> String {
    let (first, rest) = lines.split_first().expect("something is said");
    let rest: String = rest.iter().map(|line| format!("printf '%s\\n' '{line}'; read plan; ")).collect();
    format!("printf '%s\\n' '{first}'; {rest}")
}

fn opened(lines: &[&str]) -> String {
    says(&[&[OPEN], lines].concat())
}

fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "{old}");
    text.replacen(old, new, 1)
}

#[test]
fn worlds_that_die_are_named_with_their_last_words() {
    let error = world_fails("exit 3");
    assert_says(&error, &["the world `exit 3`", "status 3", "a message of type world was due"]);
    assert_says(&world_fails("halcyon-no-such-command"), &["status 127", "not found"]);
    let error = world_fails(&format!("{} echo 'no memory left' >&2; exit 1", opened(&[FIRST])));
    assert_says(&error, &["status 1", "snapshot or scores or vms was due", "standard error: no memory left"]);
    assert_says(&world_fails("kill -9 $$"), &["signal 9"]);
    assert_says(&world_fails("exec >&-; exec sleep 600"), &["closed its output"]);
    assert_says(
        &world_fails(r#"echo '{"schema":1,"type":"error","message":"no licence"}'"#),
        &["gave up: no licence"],
    );
}

#[test]
fn worlds_that_are_silent_or_endless_are_not_waited_for() {
    assert_says(&world_fails("exec sleep 600"), &["no whole line within 0.4 s", "flush"]);
    assert_says(&world_fails("printf '{'; exec sleep 600"), &["no whole line within 0.4 s"]);
    assert_says(&world_fails("exec yes ''"), &["no whole line within 0.4 s"]);
    assert_says(&world_fails("exec cat /dev/zero"), &["line 1", "longer than 65536 bytes"]);
    let torn = r#"printf '{"schema":1'"#;
    assert_says(&world_fails(torn), &["line 1", "within a line, after 11 bytes"]);
    // A world may not ask for more than it announced, nor stop early.
    let error =
        world_fails(&opened(&[FIRST, r#"{"schema":1,"type":"scores","utility":1,"violations":0,"vms":[]}"#]));
    assert_says(&error, &["line 3", "scores come at 1 s of the 10 s"]);
    let error = world_fails(&opened(&[&with(FIRST, "\"at_s\":1", "\"at_s\":12")]));
    assert_says(&error, &["line 2", "at_s: is 12, but the run is to last 10 s"]);
}

#[test]
fn what_is_not_a_message_is_refused_with_its_line() {
    assert_says(&world_fails("echo hello"), &["line 1", "is not a JSON object"]);
    assert_says(&world_fails(r"printf '\377\n'"), &["line 1", "not UTF-8 from byte 1"]);
    assert_says(&world_fails("echo '{]'"), &["line 1", "key must be a string"]);
    assert_says(&world_fails(r#"echo '{"type":"world"}'"#), &["schema: is not there"]);
    assert_says(&world_fails(r#"echo '{"schema":1}'"#), &["type: is not there"]);
    assert_says(
        &world_fails(r#"echo '{"schema":2,"type":"world"}'"#),
        &["schema: is 2; this Halcyon speaks schema 1"],
    );
    assert_says(&world_fails(&says(&[FIRST])), &["type: is `snapshot` where world was due"]);
    let deep = "head -c 60000 /dev/zero | tr '\\0' '['";
    let error = world_fails(&format!("printf '{{\"schema\":1,\"type\":\"world\",\"host\":'; {deep}; echo"));
    assert_says(&error, &["line 1"]);
}

#[test]
fn worlds_that_cannot_be_are_refused_with_the_field() {
    let open = |old: &str, new: &str| world_fails(&says(&[&with(OPEN, old, new), FIRST]));
    assert_says(
        &open(r#""share":1000,"ceiling":1000"#, r#""share":9000,"ceiling":9000"#),
        &["held", "rule(s) broken"],
    );
    let more = r#"{"name":"more","vcpus":4,"memory_bytes":{"reservation":1000,"limit":1000}},"#;
    let error = open(r#"[{"name":"web""#, &format!("[{more}{{\"name\":\"web\""));
    assert_says(&error, &["held.vms", "nothing is said of VM `more`"]);
    assert_says(&open(r#""cores":4"#, r#""cores":0"#), &["host.sockets[0].cores: is 0"]);
    assert_says(&open(r#""cores":4"#, r#""cores":-4"#), &["host.sockets[0].cores", "whole number from 0 up"]);
    assert_says(&open(r#""cores":4"#, r#""coers":4"#), &["host.sockets[0]", "unknown field `coers`"]);
    assert_says(&open(r#""cpu":{}"#, r#""cups":{}"#), &["changes", "unknown variant `cups`"]);
    assert_says(
        &open(r#""socket":0"#, r#""socket":1"#),
        &["host.memory[0].on.socket: is 1, but the host has 1 sockets"],
    );
    assert_says(&open(r#""name":"web""#, r#""name":"w b""#), &["vms[0].name"]);
    assert_says(&open(r#""duration_s":10"#, r#""duration_s":1e999"#), &["duration_s", "out of range"]);
    assert_says(&open(r#""duration_s":10"#, r#""duration_s":NaN"#), &["line 1", "is not JSON"]);
    assert_says(&open(r#""step_s":1"#, r#""step_s":0"#), &["step_s: is 0"]);
}

#[test]
fn snapshots_that_lie_are_refused_with_the_field() {
    let first = |old: &str, new: &str| world_fails(&opened(&[&with(FIRST, old, new)]));
    let vm = r#"{"vm":"web"}"#;
    assert_says(
        &first(vm, r#"{"vm":"web","cpu_used_us":-5}"#),
        &["line 2", "vms[0].cpu_used_us", "from 0 up"],
    );
    assert_says(&first(vm, r#"{"vm":"web","cpu_used_us":NaN}"#), &["line 2", "is not JSON"]);
    assert_says(&first(vm, r#"{"vm":"web","p99_s":1e999}"#), &["line 2", "out of range"]);
    assert_says(&first(vm, r#"{"vm":"wbe"}"#), &["vms[0].vm: there is no VM `wbe`"]);
    assert_says(&first(vm, r#"{"vm":"web"},{"vm":"web"}"#), &["vms[1].vm: `web` is there twice"]);
    assert_says(&first(vm, ""), &["nothing is said of VM `web`"]);
    assert_says(&first("\"cycle\":1", "\"cycle\":2"), &["cycle: is 2 where 1 was due"]);
    assert_says(&first("\"at_s\":1", "\"at_s\":-1"), &["at_s: is -1"]);
    let report = r#""steps":[{"id":7,"state":"done"}],"vms":[{"vm":"web"}]"#;
    assert_says(
        &first(r#""vms":[{"vm":"web"}]"#, report),
        &["steps[0].id: is 7, but no such step is under way"],
    );
    let held = |share: u64| {
        format!(
            r#""held":{{"vms":[{{"vm":"web","cpu_milli":{{"share":{share},"ceiling":{share}}},"memory":[{{"node":0,"bytes":1000}}]}}]}},"vms":[{{"vm":"web"}}]"#
        )
    };
    let lies = |share| first(r#""vms":[{"vm":"web"}]"#, &held(share));
    assert_says(&lies(2000), &["held.vms: of VM `web`, CPU time is 2, but the steps led to 1"]);
    assert_says(&lies(5000), &["held: ", "capacity", "5 CPUs granted on s, which has 4"]);
    let error = world_fails(&opened(&[FIRST, FIRST]));
    assert_says(&error, &["line 3", "cycle: is 1 where 2 was due"]);
    let gone = r#"{"schema":1,"type":"vms","vms":[],"held":{"vms":[]}}"#;
    let error = world_fails(&format!("printf '%s\\n' '{OPEN}' '{gone}' '{FIRST}'; read plan"));
    assert_says(&error, &["line 3", "there is no VM `web`"]);
}

#[test]
fn policies_that_are_dead_slow_or_wrong_end_the_run() {
    assert_says(&policy_fails("exit 3"), &["the policy `exit 3`", "status 3"]);
    assert_says(
        &policy_fails("exec sleep 600"),
        &["no whole line within 0.4 s where a message of type proposal was due"],
    );
    assert_says(&policy_fails("exec cat"), &["line 1", "type: is `world` where proposal was due"]);
    assert_says(&policy_fails("read w; read s; echo oops >&2; exit 4"), &["status 4", "oops"]);
    let answers = |fields: &str| {
        policy_fails(&format!(
            r#"read w; while read s; do echo '{{"schema":1,"type":"proposal","cycle":1{fields}}}'; done"#
        ))
    };
    assert_says(&answers(""), &["line 2", "cycle: is 1 where 2 was due"]);
    assert_says(&answers(r#","vms":[{"vm":"nobody"}]"#), &["line 1", "vms[0].vm: there is no VM `nobody`"]);
    assert_says(&answers(r#","vms":[{"vm":"nobody","cpu_milli":{"share":-1}}]"#), &["there is no VM"]);
    assert_says(
        &answers(r#","devices":[{"device":999,"to":null}]"#),
        &["devices[0].device: is 999, but the host has"],
    );
    assert_says(
        &answers(r#","links":[{"link":0,"to":{"lanes":3,"gt_per_s":8}}]"#),
        &["links[0].to.lanes: is 3"],
    );
    assert_says(&answers(r#","wishes":[]"#), &["unknown field `wishes`"]);
    assert_says(&answers(r#","vms":NaN"#), &["is not JSON"]);
    let name = &scenario(4, Duration::from_secs(30), 3).guests[0].spec.name;
    let wish = |wish: &str| answers(&format!(r#","vms":[{{"vm":"{name}",{wish}}}]"#));
    assert_says(&wish(r#""cpu_milli":{"share":-1}"#), &["vms[0].cpu_milli.share: is -1"]);
    assert_says(&wish(r#""cpu_milli":{"share":1e999}"#), &["vms[0].cpu_milli.share", "out of range"]);
    assert_says(&wish(r#""memory":[{"node":9,"bytes":1}]"#), &["vms[0].memory[0].node: is 9"]);
}

#[test]
fn the_clairvoyant_does_not_know_another_world() {
    let error = WorldRun::new(&outside("exit 1"), "clairvoyant").err().expect("it is refused");
    assert_says(&chain(&error), &["there is no policy `clairvoyant` for a world from outside", "reactive"]);
}
