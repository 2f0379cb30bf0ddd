//! A Prometheus of the test's own.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// `nobody`, as whom only root can start programs.
const NOBODY: u32 = 65_534;
/// It opens its files and answers.
const START: Duration = Duration::from_mins(1);

fn program(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("LOOPTOP_PROMETHEUS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = own.into_iter().chain(std::env::split_paths(&path));
    let mut programs = folders.map(|folder| folder.join(name));
    programs.find(|program| program.is_file())
}

/// Whether there is one on this machine.
pub(crate) fn is_there() -> bool {
    let is_there = program("prometheus").is_some() && program("promtool").is_some();
    let is_required = std::env::var_os("LOOPTOP_REQUIRE_PROMETHEUS").is_some();
    assert!(is_there || !is_required, "there is no prometheus");
    if !is_there {
        eprintln!("skipped: no prometheus and promtool here (apt-get install prometheus)");
    }
    is_there
}

/// As whom it runs: another user than the lab's where that can be.
pub(crate) fn own_user() -> u32 {
    match std::fs::metadata("/proc/self").unwrap().uid() {
        0 => NOBODY,
        own => own,
    }
}

/// Runs `promtool`, which must be content.
pub(crate) fn promtool(arguments: &[&str], input: &str) {
    let mut child = Command::new(program("promtool").unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}{complained}");
    if input.is_empty() {
        return;
    }
    // It lints, and says nothing where all is well.
    assert!(
        said.is_empty() && complained.is_empty(),
        "{said}{complained}"
    );
}

/// One of a query's answers.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label; empty where it has none.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    pub(crate) fn is(&self, value: f64) -> bool {
        (self.value - value).abs() < 1e-9
    }
}

/// It runs until this value is dropped.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` each second as `user`, and judges it by `rules`.
    pub(crate) fn start(target: SocketAddr, rules: &Path, user: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        // The user may not read where the sources are.
        std::fs::copy(rules, folder.path().join("rules.yml")).unwrap();
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: lab\n    static_configs:\n      - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        for path in [folder.path(), &data] {
            std::os::unix::fs::chown(path, Some(user), None).unwrap();
        }
        let address = free_address();
        let output = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program("prometheus").unwrap())
            .current_dir(folder.path())
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .uid(user)
            .spawn()
            .unwrap();
        let prometheus = Self {
            child,
            address,
            folder,
        };
        let deadline = Instant::now() + START;
        while !matches!(get(address, "/-/ready"), Some((200, _))) {
            let log = prometheus.folder.path().join("log");
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < deadline, "not ready: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
        prometheus
    }

    /// The answers to a query, as of now.
    pub(crate) fn query(&self, query: &str) -> Vec<Sample> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let Some((status, body)) = get(self.address, &path) else {
            return Vec::new();
        };
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200, "{query}: {answer}");
        let results = answer["data"]["result"].as_array().unwrap();
        results.iter().map(sample).collect()
    }

    /// The page of a target, as this test's own user gets it.
    #[allow(clippy::unused_self, reason = "it reads what this one has read")]
    pub(crate) fn scrape(&self, target: SocketAddr) -> String {
        let (status, page) = get(target, "/metrics").unwrap();
        assert_eq!(status, 200, "{page}");
        page
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sample(result: &serde_json::Value) -> Sample {
    let labels = result["metric"].as_object().unwrap();
    let text = |(name, value): (&String, &serde_json::Value)| {
        (name.clone(), value.as_str().unwrap_or_default().to_owned())
    };
    let value = result["value"][1].as_str().unwrap();
    Sample {
        labels: labels.iter().map(text).collect(),
        value: value.parse().unwrap(),
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Status and body; `None` where nobody answers.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).ok()?;
    // Of HTTP/1.0, so that no answer comes in chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
