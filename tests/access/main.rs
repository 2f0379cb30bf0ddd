//! Who may look, with the programs that people use: `looptop` against an application
//! with an agent, as the same user, as root, and as others.
//!
//! Other users are 65534 and 65533, as whom only root can start programs: without that
//! those tests say so and end.
#![cfg(all(target_os = "linux", not(looptop_elsewhere)))]

mod certificates;
#[path = "../programs/mod.rs"]
mod programs;

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use certificates::Certificates;

const ROOT: u32 = 0;
const NOBODY: u32 = 65_534;
const OTHER: u32 = 65_533;
const TOKEN: &str = "correct-horse-battery-staple";

type Env<'a> = &'a [(&'a str, &'a str)];

fn is_root() -> bool {
    let root = std::fs::metadata("/proc/self").unwrap().uid() == ROOT;
    if !root {
        eprintln!("skipped: only root can start programs as other users");
    }
    root
}

/// A command as this user, without what this test's environment says of looptop.
fn command(program: &Path, user: u32, env: Env<'_>) -> Command {
    let mut command = Command::new(program);
    for name in [
        "LOOPTOP_BIND",
        "LOOPTOP_SOCKET",
        "LOOPTOP_TOKEN",
        "LOOPTOP_TOKEN_FILE",
        "XDG_RUNTIME_DIR",
    ] {
        command.env_remove(name);
    }
    command.env("LOOPTOP_CONFIG", "/nonexistent/config.toml");
    command.envs(env.iter().copied());
    if user != ROOT {
        command.uid(user).gid(user);
    }
    command
}

/// A folder that every user may enter.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    set_mode(folder.path(), 0o755);
    folder
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn own(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
}

/// A program that everybody may start: what is built may be in a folder that they may
/// not enter.
fn for_everybody(program: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join(program.file_name().unwrap());
    std::fs::copy(program, &copy).unwrap();
    set_mode(&copy, 0o755);
    copy
}

/// The programs, where every user can start them.
struct Programs {
    folder: tempfile::TempDir,
    app: PathBuf,
    looptop: PathBuf,
}

impl Programs {
    fn new() -> Self {
        let folder = open_folder();
        Self {
            app: for_everybody(&programs::build("agent_app"), folder.path()),
            looptop: for_everybody(Path::new(env!("CARGO_BIN_EXE_looptop")), folder.path()),
            folder,
        }
    }

    fn app(&self, user: u32, env: Env<'_>) -> App {
        let mut all = vec![("LOOPTOP_BIND", "127.0.0.1:0")];
        all.extend(env);
        let mut child = command(&self.app, user, &all)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        App {
            address: address.trim().to_owned(),
            child,
        }
    }

    /// `looptop check` of the target, as this user.
    fn look(&self, target: &str, user: u32, env: Env<'_>) -> Seen {
        let mut check = command(&self.looptop, user, env);
        check.args(["check", target, "--for", "300ms", "--timeout", "10s"]);
        Seen::of(&check.output().unwrap())
    }

    /// What `looptop` records of the target in such a time as this user, as JSON.
    fn recorded(&self, target: &str, time: &str, user: u32, env: Env<'_>) -> String {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        own(folder.path(), user);
        let file = folder.path().join("recording");
        let file = file.to_str().unwrap();
        let run = |arguments: &[&str]| {
            let output = command(&self.looptop, user, env).args(arguments).output();
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments:?}: {said}");
            String::from_utf8(output.stdout).unwrap()
        };
        run(&["record", target, "-o", file, "--for", time]);
        run(&["export", file, "--format", "json"])
    }

    fn ls(&self, user: u32, env: Env<'_>) -> String {
        let output = command(&self.looptop, user, env).arg("ls").output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    }
}

/// What came of a look.
struct Seen {
    attached: bool,
    sentence: String,
}

impl Seen {
    fn of(output: &Output) -> Self {
        let sentence = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // 3: not attached to, or nothing observed, which an application without a
        // busy worker may well be; then a report is there.
        let attached = !output.stdout.is_empty();
        Self { attached, sentence }
    }

    #[track_caller]
    fn is_served(&self) {
        assert!(self.attached, "refused: {}", self.sentence);
    }

    /// Refused, with one sentence that holds these parts and nothing of the token.
    #[track_caller]
    fn is_refused(&self, parts: &[&str]) {
        assert!(!self.attached, "it was served");
        let sentence = &self.sentence;
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
        for part in parts {
            assert!(sentence.contains(part), "no `{part}` in: {sentence}");
        }
        assert!(!sentence.contains("horse"), "{sentence}");
    }
}

/// A running application; killed when dropped.
struct App {
    child: Child,
    address: String,
}

impl App {
    /// The path of the socket that its user's viewers find.
    fn socket(&self, user: u32) -> String {
        format!("unix:/tmp/looptop-{user}/{}.sock", self.child.id())
    }

    /// Ends it; what it said on standard error.
    fn said(mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        let stderr = self.child.stderr.take().unwrap();
        BufReader::new(stderr).read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_same_user_and_root_look_and_another_gets_one_sentence() {
    if !is_root() {
        return;
    }
    let programs = Programs::new();
    let app = programs.app(NOBODY, &[]);
    for target in [app.address.clone(), app.socket(NOBODY)] {
        programs.look(&target, NOBODY, &[]).is_served();
        programs.look(&target, ROOT, &[]).is_served();
    }
    let by_port = programs.look(&app.address, OTHER, &[]);
    by_port.is_refused(&["user 65533 may not look", "LOOPTOP_ALLOW=65533"]);
    let by_socket = programs.look(&app.socket(NOBODY), OTHER, &[]);
    by_socket.is_refused(&["is forbidden", "as the user of the application"]);
    // The owner is told once, however often somebody tries.
    programs.look(&app.address, OTHER, &[]);
    let said = app.said();
    assert_eq!(said.matches("refused a viewer").count(), 1, "{said}");
}

#[test]
fn a_socket_where_others_may_enter_serves_whom_it_may() {
    if !is_root() {
        return;
    }
    let programs = Programs::new();
    let path = programs.folder.path().join("app.sock");
    let bind = format!("unix:{}", path.display());
    let app = programs.app(ROOT, &[("LOOPTOP_BIND", &bind)]);
    set_mode(&path, 0o777);
    programs.look(&bind, ROOT, &[]).is_served();
    let refused = programs.look(&bind, NOBODY, &[]);
    refused.is_refused(&["user 65534 may not look"]);
    drop(app);
    // Left behind by the process that was killed, and taken over by the next.
    assert!(path.exists());
    let env = [("LOOPTOP_BIND", bind.as_str()), ("LOOPTOP_ALLOW", "65534")];
    let _app = programs.app(ROOT, &env);
    set_mode(&path, 0o777);
    programs.look(&bind, NOBODY, &[]).is_served();
}

#[test]
fn a_planted_socket_is_not_used() {
    if !is_root() {
        return;
    }
    let programs = Programs::new();
    // At a path where the application of the viewer's user might be.
    let shared = programs.folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o1777);
    let path = shared.join("app.sock");
    let bind = format!("unix:{}", path.display());
    let env = [("LOOPTOP_BIND", bind.as_str()), ("LOOPTOP_ALLOW", "65534")];
    let planter = programs.app(OTHER, &env);
    set_mode(&path, 0o777);
    let refused = programs.look(&bind, NOBODY, &[("LOOPTOP_TOKEN", TOKEN)]);
    refused.is_refused(&["is served by user 65533", "LOOPTOP_TRUST=65533"]);
    let trusting = [("LOOPTOP_TRUST", "65533")];
    programs.look(&bind, NOBODY, &trusting).is_served();
    // The application that wanted to listen there says so, and takes nothing over.
    let victim = programs.app(NOBODY, &[("LOOPTOP_BIND", &bind)]);
    let said = victim.said();
    assert!(said.contains("cannot listen at unix:"), "{said}");
    drop(planter);

    // In a folder where both look by themselves.
    let runtime = programs.folder.path().join("runtime");
    let folder = runtime.join("looptop");
    std::fs::create_dir_all(&folder).unwrap();
    own(&runtime, NOBODY);
    own(&folder, OTHER);
    let bind = format!("unix:{}", folder.join("1.sock").display());
    let _planter = programs.app(
        OTHER,
        &[("LOOPTOP_BIND", &bind), ("LOOPTOP_ALLOW", "65534")],
    );
    set_mode(&folder, 0o777);
    set_mode(&folder.join("1.sock"), 0o777);
    let env = [("XDG_RUNTIME_DIR", runtime.to_str().unwrap())];
    assert!(!programs.ls(NOBODY, &env).contains("1.sock"));
    let app = programs.app(NOBODY, &env);
    programs.look(&app.socket(NOBODY), NOBODY, &env).is_served();
    let inside = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(inside, 1, "nothing was put beside the planted one");
}

#[test]
fn a_token_opens_to_those_who_have_it() {
    if !is_root() {
        return;
    }
    let programs = Programs::new();
    let file = programs.folder.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    set_mode(&file, 0o644);
    let file = file.to_str().unwrap();
    let app = programs.app(ROOT, &[("LOOPTOP_TOKEN_FILE", file)]);
    let look = |env: Env<'_>| programs.look(&app.address, NOBODY, env);
    look(&[("LOOPTOP_TOKEN", TOKEN)]).is_served();
    look(&[("LOOPTOP_TOKEN_FILE", file)]).is_served();
    look(&[]).is_refused(&["may not look without a token", "LOOPTOP_TOKEN_FILE"]);
    let wrong = [("LOOPTOP_TOKEN", "correct-horse-battery-stable")];
    look(&wrong).is_refused(&["the token is not this application's"]);
    look(&[("LOOPTOP_TOKEN_FILE", "/nonexistent")]).is_refused(&["/nonexistent cannot be read"]);
    // From the configuration's file.
    let config = programs.folder.path().join("config.toml");
    std::fs::write(&config, format!("token_file = '{file}'\n")).unwrap();
    set_mode(&config, 0o644);
    look(&[("LOOPTOP_CONFIG", config.to_str().unwrap())]).is_served();
    // The same user needs none.
    programs.look(&app.address, ROOT, &[]).is_served();
    let said = app.said();
    assert!(!said.contains("horse"), "{said}");
}

#[test]
fn an_address_that_other_machines_reach_needs_a_token_or_certificates() {
    let programs = Programs::new();
    let open = programs.app(ROOT, &[("LOOPTOP_BIND", "0.0.0.0:0")]);
    assert_eq!(open.address, "");
    let said = open.said();
    assert!(
        said.contains("other machines") && said.contains("LOOPTOP_TOKEN_FILE"),
        "{said}"
    );
    let env = [("LOOPTOP_BIND", "0.0.0.0:0"), ("LOOPTOP_TOKEN", TOKEN)];
    let closed = programs.app(ROOT, &env);
    assert!(closed.address.starts_with("0.0.0.0:"), "{}", closed.address);
    let said = closed.said();
    assert!(
        said.contains("without encryption") && !said.contains("horse"),
        "{said}"
    );
}

#[test]
fn tls_knows_both_ends_by_their_certificates() {
    if !is_root() {
        return;
    }
    let programs = Programs::new();
    let made = Certificates::make(programs.folder.path());
    let path = |name: &str| made.path(name);
    let app = |certificate: &str, more: Env<'_>| {
        let (certificate_file, key) = (
            path(&format!("{certificate}.pem")),
            path(&format!("{certificate}.key")),
        );
        let mut env = vec![
            ("LOOPTOP_TLS_CERT", certificate_file.as_str()),
            ("LOOPTOP_TLS_KEY", key.as_str()),
        ];
        env.extend(more);
        programs.app(ROOT, &env)
    };
    let target = |app: &App| format!("https://{}", app.address);
    let (authority, foreign) = (path("authority.pem"), path("foreign.pem"));
    let known = [("LOOPTOP_TLS_CA", authority.as_str())];
    let client_authority = path("authority.pem");
    let mutual = [("LOOPTOP_TLS_CLIENT_CA", client_authority.as_str())];

    // The viewer knows the application.
    let right = app("app", &mutual);
    let with = |certificate: &str| {
        let (file, key) = (
            path(&format!("{certificate}.pem")),
            path(&format!("{certificate}.key")),
        );
        let env = [
            ("LOOPTOP_TLS_CA", authority.as_str()),
            ("LOOPTOP_TLS_CLIENT_CERT", file.as_str()),
            ("LOOPTOP_TLS_CLIENT_KEY", key.as_str()),
        ];
        programs.look(&target(&right), NOBODY, &env)
    };
    with("viewer").is_served();
    with("expired").is_refused(&["certificate has expired"]);
    with("foreigner").is_refused(&["does not trust the viewer's certificate"]);
    programs
        .look(&target(&right), NOBODY, &known)
        .is_refused(&["wants a certificate of the viewer"]);
    programs
        .look(&target(&right), NOBODY, &[])
        .is_refused(&["LOOPTOP_TLS_CA"]);
    programs
        .look(&target(&right), NOBODY, &[("LOOPTOP_TLS_CA", &foreign)])
        .is_refused(&["not signed by"]);
    let plain = programs.look(&right.address, NOBODY, &[]);
    assert!(!plain.attached);
    // Its socket needs none of it.
    programs.look(&right.socket(ROOT), ROOT, &[]).is_served();

    let expired = app("expired", &mutual);
    programs
        .look(&target(&expired), ROOT, &known)
        .is_refused(&["application's certificate has expired"]);
    let other = app("other", &mutual);
    programs
        .look(&target(&other), ROOT, &known)
        .is_refused(&["for another name"]);
    // A token suffices where the viewer has no certificate.
    let token = [mutual[0], ("LOOPTOP_TOKEN", TOKEN)];
    let by_token = app("app", &token);
    let env = [known[0], ("LOOPTOP_TOKEN", TOKEN)];
    programs.look(&target(&by_token), NOBODY, &env).is_served();
    programs
        .look(&target(&by_token), NOBODY, &known)
        .is_refused(&["without a token"]);
}

#[test]
fn sockets_are_found_and_those_left_behind_are_removed() {
    let programs = Programs::new();
    let runtime = programs.folder.path().join("runtime");
    std::fs::create_dir(&runtime).unwrap();
    let env = [
        ("XDG_RUNTIME_DIR", runtime.to_str().unwrap()),
        ("LOOPTOP_BIND", "off"),
    ];
    let mut app = programs.app(ROOT, &env);
    let pid = app.child.id();
    let folder = runtime.join("looptop");
    let path = folder.join(format!("{pid}.sock"));
    until("the socket is there", || path.exists());
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let target = format!("unix:{}", path.display());
    let listed = programs.ls(ROOT, &env[..1]);
    let lines = listed.lines().filter(|line| line.contains(&target));
    assert_eq!(lines.count(), 1, "{listed}");
    programs
        .look(&format!("pid:{pid}"), ROOT, &env[..1])
        .is_served();
    // A port and a socket are one program.
    let both = programs.app(ROOT, &env[..1]);
    let listed = programs.ls(ROOT, &env[..1]);
    let number = both.child.id().to_string();
    let lines = listed
        .lines()
        .filter(|line| line.trim_start().starts_with(&number));
    assert_eq!(lines.count(), 1, "{listed}");
    // Killed: the socket stays behind, until somebody looks.
    app.child.kill().unwrap();
    app.child.wait().unwrap();
    assert!(path.exists());
    let old = Command::new("touch")
        .args(["-d", "-1 hour"])
        .arg(&path)
        .status();
    assert!(old.unwrap().success());
    programs.ls(ROOT, &env[..1]);
    assert!(!path.exists());
}

/// Of an application that reads its own memory: who may not read the process, and may see
/// memory, gets its tasks from it. Nobody else has it read.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_is_read_in_memory_goes_to_who_may_see_it() {
    if !is_root() {
        return;
    }
    let programs = Programs::new();
    let (on, token) = (("LOOPTOP_WAITS", "on"), ("LOOPTOP_TOKEN", TOKEN));
    let may = ("LOOPTOP_PERMIT", "memory");
    let is_read = |app: &App| {
        let threads = std::fs::read_dir(format!("/proc/{}/task", app.child.id())).unwrap();
        let names = threads.flatten().map(|thread| thread.path().join("comm"));
        let mut names = names.filter_map(|path| std::fs::read_to_string(path).ok());
        names.any(|name| name.trim() == "looptop-waits")
    };
    // Those that the application has spawned; who sees none does not count any.
    let has_tasks = |text: &str| text.contains("\"tasks_live\":5,");
    for (settings, user, env, read) in [
        (&[on, token, may][..], NOBODY, &[token][..], true),
        // Without the permission, and without the setting.
        (&[on, token], NOBODY, &[token], false),
        (&[token, may], NOBODY, &[token], false),
        // Root reads the process itself.
        (&[on], ROOT, &[], false),
    ] {
        let app = programs.app(ROOT, settings);
        let itself = user == ROOT;
        let what = format!("{settings:?} as {user}");
        // Symbols are read first, which may take a while: the longer, the slower.
        let mut text = String::new();
        for time in ["2s", "6s", "20s", "60s"] {
            text = programs.recorded(&app.address, time, user, env);
            if has_tasks(&text) || !(read || itself) {
                break;
            }
        }
        assert_eq!(has_tasks(&text), read || itself, "{what}: {text}");
        assert_eq!(is_read(&app), read, "{what}");
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
