use looptop_wire::{columns, proto};
use serde_json::Value;

use super::*;
use crate::model::{Model, fixtures};

/// The service of the fixture, of which each task was read once so far.
fn read_once() -> Model {
    let mut model = Model::new(&fixtures::hello());
    for mut frame in fixtures::waits().keyframe() {
        for wait in &mut frame.task_waits {
            wait.since_ns = wait.read_at_ns;
        }
        model.apply(&frame).unwrap();
    }
    model
}

/// The service of the fixture.
fn dump() -> Dump {
    let mut model = fixtures::waits();
    let mut rings = Rings::default();
    rings.observe(&model);
    // Seconds later nobody has run.
    let later = model.now.plus(std::time::Duration::from_secs(4));
    let frame = proto::Frame {
        waits_read: Some(proto::WaitsRead {
            idle: 20,
            read: 19,
            complete: true,
            ..proto::WaitsRead::default()
        }),
        ..fixtures::frame(later)
    };
    model.apply(&frame).unwrap();
    let dump = Dump::new("pid:4711", &model, &rings);
    assert!(!dump.rings.is_empty() && !rings.are_open(&model));
    dump
}

#[test]
fn a_ring_that_was_seen_once_is_not_shown() {
    let mut model = read_once();
    let mut rings = Rings::default();
    rings.observe(&model);
    assert!(rings.are_open(&model));
    let dump = Dump::new("pid:4711", &model, &rings);
    assert_eq!(dump.rings, []);
    assert_eq!(
        dump.not_read,
        [
            "whether what seems to be a deadlock stays, which takes some seconds: --for gives \
             more"
        ]
    );
    // Seconds later nobody has run.
    let later = model.now.plus(std::time::Duration::from_secs(4));
    model.apply(&fixtures::frame(later)).unwrap();
    assert!(!rings.are_open(&model));
    assert!(!Dump::new("pid:4711", &model, &rings).rings.is_empty());
}

#[test]
fn jobs_of_the_blocking_pool_say_whether_they_have_begun() {
    use proto::{JobState, ThreadRole, WantKind};
    let mut model = fixtures::waits();
    let at = model.now.plus(std::time::Duration::from_secs(1));
    let mut frame = fixtures::frame(at);
    frame.strings.push(proto::InternedString {
        id: 900,
        text: "shop::transcode".to_owned(),
    });
    let want = |node: u32, job: u64, state: JobState| proto::Want {
        node,
        kind: WantKind::Task.into(),
        task: Some(job),
        job: state.into(),
        ..proto::Want::default()
    };
    let known = |id: u64| {
        let read = model.waits.task(crate::model::TaskId(id));
        let read = read.expect("of the fixture");
        (read.shape.id, read.wants[0].node)
    };
    // Three in the pool wait for jobs of their own; and one for one that runs.
    let jobs = [
        (3, 801, JobState::Queued),
        (4, 802, JobState::Queued),
        (5, 803, JobState::Queued),
        (19, 804, JobState::Running),
    ];
    for (task, job, state) in jobs {
        let (shape, node) = known(task);
        frame.task_waits.push(proto::TaskWait {
            task,
            shape,
            wants: vec![want(node, job, state)],
            ..proto::TaskWait::default()
        });
    }
    for (tid, job, wants) in [(501, 804, None), (502, 805, Some(806))] {
        frame.threads.push(proto::Thread {
            tid,
            role: ThreadRole::Blocking.into(),
            ..proto::Thread::default()
        });
        frame.thread_waits.push(proto::ThreadWait {
            tid,
            task: Some(job),
            want: wants.map(|job| want(0, job, JobState::Queued)),
            function: 900,
            ..proto::ThreadWait::default()
        });
    }
    model.apply(&frame).unwrap();
    let dump = Dump::new("pid:4711", &model, &Rings::default());
    let text = dump.render(Format::Text);
    for line in [
        "waits for job 801 of the blocking pool (it has not begun) (one of 3 such)",
        "waits for job 804 of the blocking pool (it runs in shop::transcode)",
        "blocking thread 501 in shop::transcode, in job 804 of the blocking pool",
        "blocking thread 502 waits for job 806 of the blocking pool (it has not begun) in \
         shop::transcode",
        "in job 805 of the blocking pool",
    ] {
        assert!(text.contains(line), "no '{line}' in\n{text}");
    }
    let json = serde_json::to_value(&dump).unwrap();
    let groups = json["groups"].as_array().unwrap();
    let kinds = groups
        .iter()
        .map(|group| group["waits"][0]["kind"].as_str().unwrap());
    assert_eq!(kinds.filter(|kind| *kind == "job").count(), 2);
    let within = json["standing"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stand| &stand["task"]["kind"]);
    assert!(
        within.into_iter().any(|kind| kind == "job"),
        "{}",
        json["standing"]
    );
}

#[test]
fn tasks_that_come_and_go_faster_than_they_are_listed_are_missing() {
    let mut model = Model::new(&fixtures::outside_hello());
    let frame = fixtures::outside_frame(crate::model::Moment(20_000_000_000));
    model.apply(&frame).unwrap();
    let dump = Dump::new("pid:4711", &model, &Rings::default());
    let missing = "993 of 1004 tasks, which came or went while they were listed";
    assert_eq!(dump.not_read, [missing]);
    // Where nothing at all was seen of them, it is no dump.
    let mut nothing = Dump {
        groups: Vec::new(),
        threads: Vec::new(),
        ..dump
    };
    nothing.tasks = TaskCounts {
        live: Some(6_000),
        ..TaskCounts::default()
    };
    nothing.read = Some(Read {
        idle: 0,
        read: 0,
        partial: 0,
        without: 0,
        without_reason: None,
        complete: false,
        cpu_ms: 0.0,
    });
    assert!(!nothing.is_observed());
    nothing.tasks.live = Some(0);
    assert!(nothing.is_observed(), "there are none");
}

#[test]
fn the_text_says_who_waits_for_whom() {
    insta::assert_snapshot!(dump().render(Format::Text));
}

/// A core dump of the service, with two workers and a thread of which nothing is known.
fn of_core() -> Dump {
    let mut hello = fixtures::hello();
    (hello.core_dump, hello.started_unix_ns) = (true, 1_795_748_000_000_000_000);
    let mut model = Model::new(&hello);
    for mut frame in fixtures::waits().keyframe() {
        frame
            .threads
            .extend([101, 102, 107].map(|tid| proto::Thread {
                tid,
                ..proto::Thread::default()
            }));
        frame
            .workers
            .extend([(0, 101), (1, 102)].map(|(index, tid)| proto::Worker {
                index,
                tid: Some(tid),
                state: proto::WorkerState::Parked.into(),
                ..proto::Worker::default()
            }));
        for wait in &mut frame.task_waits {
            wait.since_ns = wait.read_at_ns;
            wait.certain = wait.task != 17;
        }
        for wait in &mut frame.thread_waits {
            wait.since_ns = frame.now_ns;
            for hold in &mut wait.holds {
                hold.certain = false;
            }
        }
        model.apply(&frame).unwrap();
    }
    let mut rings = Rings::default();
    rings.observe(&model);
    Dump::new("core:/var/crash/shop.core", &model, &rings)
}

#[test]
fn of_a_core_dump_it_says_where_each_thread_stands() {
    let dump = of_core();
    assert!(!dump.rings.is_empty(), "no time has to pass");
    insta::assert_snapshot!(dump.render(Format::Text));
}

#[test]
fn what_a_member_of_a_ring_holds_across_another_await_is_said() {
    let mut dump = dump();
    let said = |dump: &Dump| {
        let text = dump.render(Format::Text);
        let mut lines = text.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with("task 1 bank::transfer holds"));
        line.expect("its line").to_owned()
    };
    assert_eq!(
        said(&dump),
        "task 1 bank::transfer holds Mutex accounts, waits for Mutex audit at src/bank.rs:21"
    );
    dump.rings[0].members[0].holds_across = Some("src/bank.rs:14".to_owned());
    assert_eq!(
        said(&dump),
        "task 1 bank::transfer holds Mutex accounts (across src/bank.rs:14), waits for Mutex \
         audit at src/bank.rs:21"
    );
}

#[test]
fn branches_stand_beside_each_other_whether_or_not_their_macro_is_seen() {
    let node = |depth, function: &str, kind, whose| Node {
        depth,
        kind,
        future: function.to_owned(),
        function: function.to_owned(),
        location: None,
        by_macro: false,
        link: "awaited",
        whose,
    };
    let wait = |node, what: &str| Wait {
        kind: "socket",
        what: what.to_owned(),
        asked: what.to_owned(),
        others: 0,
        node,
        at: None,
        resource: None,
        held_by: None,
        holders: Vec::new(),
    };
    let mut group = dump().groups[0].clone();
    group.tree = vec![
        node(0, "app::run", "async fn", "application"),
        node(1, "core::future::poll_fn::PollFn", "combinator", "plumbing"),
        node(2, "app::read", "async fn", "application"),
        node(3, "tokio::io::Read", "leaf", "plumbing"),
        node(2, "app::stop", "async fn", "application"),
        node(3, "app::stop::inner", "async fn", "application"),
        node(4, "tokio::sync::Notified", "leaf", "plumbing"),
        node(2, "tokio::time::Sleep", "leaf", "plumbing"),
    ];
    group.waits = vec![
        wait(3, "a socket"),
        wait(6, "a notification"),
        wait(7, "timer"),
    ];
    group.needs_all = false;
    let drawn = |group: &Group| tree::lines(group).join("\n");
    assert_eq!(
        drawn(&group),
        "any of 3\n\
         ├ app::read\n\
         │ waits for a socket\n\
         ├ app::stop\n\
         │ app::stop::inner\n\
         │ waits for a notification\n\
         └ waits for timer"
    );
    (group.tree[1].kind, group.needs_all) = ("join", true);
    group.tree[4].link = "kept";
    assert!(
        drawn(&group).starts_with("join!, all of 2\n├ app::read\n"),
        "{}",
        drawn(&group)
    );
    assert!(drawn(&group).contains("├ kept and not polled: app::stop\n"));
    // What another crate waits for by its own means.
    group.waits.clear();
    group.tree = vec![
        node(0, "app::run", "async fn", "application"),
        node(1, "tonic::codec::Streaming", "leaf", "plumbing"),
    ];
    let unknown = "waits for something that is not known";
    let within = format!("{unknown}, in tonic::codec::Streaming");
    assert_eq!(drawn(&group), within);
    group.tree.truncate(1);
    assert_eq!(drawn(&group), unknown);
}

#[test]
fn a_future_that_awaits_its_like_is_shown_once() {
    let mut group = dump().groups[0].clone();
    let node = |depth, function: &str| Node {
        depth,
        kind: "async fn",
        future: function.to_owned(),
        function: function.to_owned(),
        location: None,
        by_macro: false,
        link: "awaited",
        whose: "application",
    };
    group.tree = vec![node(0, "app::walk")];
    group
        .tree
        .extend((1..=190).map(|depth| node(depth, "app::step")));
    group.tree.push(node(191, "app::end"));
    for wait in &mut group.waits {
        (wait.node, wait.held_by) = (191, None);
    }
    let lines = tree::lines(&group);
    let waits = format!("waits for {}", group.waits[0].what);
    assert_eq!(
        lines,
        [
            "app::step  (190 times, each in the one before)",
            "app::end",
            &waits
        ]
    );
}

#[test]
fn why_most_were_not_read_is_no_reason_for_those_not_tried() {
    let mut dump = without_chains(false);
    dump.no_chains = None;
    let all: u64 = dump.without.iter().map(|without| without.count).sum();
    assert!(all > 2);
    let read = |without, reason: Option<&str>| Read {
        idle: all,
        read: 0,
        partial: 0,
        without,
        without_reason: reason.map(str::to_owned),
        complete: false,
        cpu_ms: 0.0,
    };
    let why = Some("it has no name");
    for (tried, why, expected) in [
        (0, None, "where these wait is not known:"),
        (
            all,
            why,
            "where these wait is not known, mostly since it has no name:",
        ),
        (
            1,
            why,
            "where these wait is not known, of 1 mostly since it has no name:",
        ),
    ] {
        dump.read = Some(read(tried, why));
        let text = dump.render(Format::Text);
        assert!(text.lines().any(|line| line == expected), "{text}");
    }
}

#[test]
fn what_was_not_read_of_a_chain_is_its_last_frame() {
    let mut dump = dump();
    let handler = |group: &&mut Group| group.future.contains("report");
    let group = dump.groups.iter_mut().find(handler).unwrap();
    group.cut = Some("the poll came to an instruction; vpconflictd".to_owned());
    group.waits.clear();
    let folded = dump.render(Format::Folded);
    let line = folded.lines().find(|line| line.contains("not read"));
    assert_eq!(
        line,
        Some(
            "shop::report (src/report.rs:77);not read: the poll came to an instruction, \
             vpconflictd 3"
        )
    );
}

#[test]
fn tasks_without_names_are_stacks_of_their_own() {
    let mut dump = dump();
    for (group, address) in dump.groups.iter_mut().zip(["shop+0x10", "shop+0x20"]) {
        group.future = address.to_owned();
        for node in &mut group.tree {
            (node.function, node.whose) = (String::new(), "plumbing");
        }
    }
    let folded = dump.render(Format::Folded);
    for address in ["shop+0x10;", "shop+0x20;"] {
        let of_it = folded.lines().filter(|line| line.starts_with(address));
        assert!(of_it.count() > 0, "{folded}");
    }
}

#[test]
fn who_is_counted_is_who_may_be_read() {
    let mut model = fixtures::waits();
    let read = |idle| proto::WaitsRead {
        idle,
        read: idle,
        complete: true,
        ..proto::WaitsRead::default()
    };
    let of = |model: &Model| {
        let text = Dump::new("pid:4711", model, &Rings::default()).render(Format::Text);
        let mut lines = text.lines();
        let head = lines.next().unwrap().split_once("; ").unwrap().1.to_owned();
        (head, lines.next().unwrap().to_owned())
    };
    let idle = rest::counts(&model).idle;
    let mut frame = fixtures::frame(model.now);
    frame.waits_read = Some(read(idle));
    model.apply(&frame).unwrap();
    let (head, body) = of(&model);
    assert!(head.contains(&format!(": {idle} idle")), "{head}");
    assert_eq!(body, format!("where all {idle} idle tasks wait was read"));
    // A future of `block_on` and a job of the blocking pool wait where nobody reads.
    let (live, running) = (
        rest::counts(&model).live.unwrap(),
        rest::counts(&model).running,
    );
    let mut frame = fixtures::frame(model.now);
    frame.tasks = Some(columns_of([
        (900, proto::TaskKind::BlockOn, proto::TaskState::Idle),
        (901, proto::TaskKind::Blocking, proto::TaskState::Running),
        (902, proto::TaskKind::Task, proto::TaskState::Scheduled),
    ]));
    frame.waits_read = Some(read(idle + 1));
    model.apply(&frame).unwrap();
    let (head, body) = of(&model);
    let running = match running {
        0 => String::new(),
        running => format!(", {running} in a poll"),
    };
    assert_eq!(
        head,
        format!(
            "{} tasks: {idle} idle, 1 woken{running}, 1 in block_on, 1 blocking",
            live + 3
        )
    );
    let waiting = idle + 1;
    assert_eq!(
        body,
        format!("where all {waiting} idle or woken tasks wait was read")
    );
    // One was in a poll whenever it was to be read.
    let mut frame = fixtures::frame(model.now);
    frame.waits_read = Some(proto::WaitsRead {
        read: idle,
        ..read(waiting)
    });
    model.apply(&frame).unwrap();
    let (_, body) = of(&model);
    assert_eq!(
        body,
        format!(
            "where {idle} of {waiting} idle or woken tasks wait was read; the others ran meanwhile"
        )
    );
    // The listing that was read is not the newest.
    let mut frame = fixtures::frame(model.now);
    frame.waits_read = Some(read(idle));
    model.apply(&frame).unwrap();
    let (_, body) = of(&model);
    assert_eq!(
        body,
        format!(
            "where all {idle} idle or woken tasks wait was read; they were listed a moment before"
        )
    );
}

/// Tasks that are new.
fn columns_of<const N: usize>(
    tasks: [(u64, proto::TaskKind, proto::TaskState); N],
) -> proto::Tasks {
    let mut all = proto::Tasks::default();
    for (id, kind, state) in tasks {
        let record = columns::Record {
            id,
            kind,
            state,
            ..columns::Record::default()
        };
        columns::push(&mut all, &record);
    }
    all
}

#[test]
fn a_place_without_a_line_is_named_by_its_function() {
    let dump = dump();
    let (mut thread, mut ring) = (dump.threads[0].clone(), dump.rings[0].clone());
    for (at, expected) in [
        (None, ""),
        (Some("src/main.rs:7"), " at src/main.rs:7"),
        (Some("in bore::main"), " in bore::main"),
    ] {
        thread.at = at.map(str::to_owned);
        for member in &mut ring.members {
            member.at.clone_from(&thread.at);
        }
        let text = Dump {
            threads: vec![thread.clone()],
            rings: vec![ring.clone()],
            ..dump.clone()
        };
        let text = text.render(Format::Text);
        for what in [&thread.waits_for, &ring.members[0].waits_for] {
            let line = format!("for {what}{expected}");
            assert!(text.lines().any(|l| l.ends_with(&line)), "{line}: {text}");
        }
    }
}

#[test]
fn a_file_that_was_replaced_is_told_from_the_name() {
    let mut hello = fixtures::hello();
    hello.exe = "/srv/shop (deleted)".to_owned();
    let dump = Dump::new("pid:4711", &Model::new(&hello), &Rings::default());
    let said = dump.render(Format::Text);
    assert!(said.contains("/srv/shop was replaced or removed"), "{said}");
    hello.exe = "/srv/shop".to_owned();
    let dump = Dump::new("pid:4711", &Model::new(&hello), &Rings::default());
    assert_eq!(dump.replaced, None);
}

#[test]
fn stacks_for_a_flame_graph_of_waiting() {
    insta::assert_snapshot!(dump().render(Format::Folded));
}

/// A service that is seen, and whose chains nobody reads.
fn without_chains(core_dump: bool) -> Dump {
    let mut hello = fixtures::hello();
    hello.core_dump = core_dump;
    hello.capabilities.push(proto::Capability {
        kind: proto::CapabilityKind::Waits.into(),
        available: false,
        reason: "the program is of another machine".to_owned(),
    });
    let mut model = Model::new(&hello);
    let frame = fixtures::starving_frame(crate::model::Moment(20_000_000_000));
    model.apply(&frame).unwrap();
    Dump::new("127.0.0.1:6669", &model, &Rings::default())
}

#[test]
fn without_chains_there_are_tasks_polls_and_the_reason() {
    let dump = without_chains(false);
    assert!(!dump.is_observed());
    insta::assert_snapshot!(dump.render(Format::Text));
    let of_core = without_chains(true);
    assert!(of_core.polls.iter().all(|poll| poll.for_ms.is_none()));
    assert!(!of_core.polls.is_empty());
}

#[test]
fn nothing_reaches_the_terminal_raw() {
    let mut dump = dump();
    let evil = "\u{1b}[2J\u{202e};x".to_owned();
    dump.name = evil.clone();
    dump.not_read.push(evil.clone());
    for group in &mut dump.groups {
        group.future = evil.clone();
        group.cut = Some(evil.clone());
        for node in &mut group.tree {
            (node.function, node.whose) = (evil.clone(), "application");
        }
        for wait in &mut group.waits {
            (wait.what, wait.asked) = (evil.clone(), evil.clone());
        }
        for task in &mut group.tasks {
            task.name = Some(evil.clone());
        }
    }
    for ring in &mut dump.rings {
        for member in &mut ring.members {
            member.who.text = evil.clone();
        }
    }
    for thread in &mut dump.threads {
        thread.who.text = evil.clone();
    }
    for format in [Format::Text, Format::Folded] {
        let text = dump.render(format);
        let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(harmful), "{text:?}");
        assert!(text.contains("\\u{1b}"), "{text}");
    }
    // A name with what parts frames is one frame.
    let folded = dump.render(Format::Folded);
    assert!(!folded.contains(";x"), "{folded}");
}

/// Whether a value is as a schema says, and says nothing that it does not describe.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        return check(root, &root["$defs"][name], value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let choice = usize::from(value.is_null());
        return check(root, &choices[choice], value, at);
    }
    if let Some(all) = schema["enum"].as_array() {
        return assert!(all.contains(value), "{at}: {value}");
    }
    if schema.get("const").is_some() {
        return assert_eq!(&schema["const"], value, "{at}");
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: {other}"),
    };
    let names = match &schema["type"] {
        Value::Array(names) => names.clone(),
        name => vec![name.clone()],
    };
    let fits = names.iter().any(|name| is(name.as_str().unwrap()));
    assert!(fits, "{at}: {value} is none of {names:?}");
    for item in value.as_array().into_iter().flatten() {
        check(root, &schema["items"], item, &format!("{at}[]"));
    }
    let Some(object) = value.as_object() else {
        return;
    };
    let required = schema["required"].as_array().unwrap().iter();
    let mut required: Vec<&str> = required.map(|name| name.as_str().unwrap()).collect();
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    required.sort_unstable();
    keys.sort_unstable();
    assert_eq!(keys, required, "{at}");
    for (name, inner) in object {
        let property = &schema["properties"][name];
        assert!(property["description"].is_string(), "{at}.{name}");
        check(root, property, inner, &format!("{at}.{name}"));
    }
}

#[test]
fn the_json_is_as_its_schema_says() {
    let schema: Value = serde_json::from_str(include_str!("../../docs/dump.schema.json")).unwrap();
    for dump in [dump(), without_chains(true), of_core()] {
        let json: Value = serde_json::from_str(&dump.render(Format::Json)).unwrap();
        check(&schema, &schema, &json, "dump");
    }
    let json: Value = serde_json::from_str(&dump().render(Format::Json)).unwrap();
    for part in ["rings", "groups", "threads", "standing"] {
        assert!(!json[part].as_array().unwrap().is_empty(), "{part}");
    }
    let pool = json["groups"][0]["waits"][0].clone();
    assert_eq!(pool["resource"], "0x3000");
    assert_eq!(pool["holders"].as_array().unwrap().len(), 3);
}
