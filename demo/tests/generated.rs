//! The committed code is what the protocol file generates.

use std::{fs, path::Path};

const COMMITTED: &str = "src/generated/looptop.lab.v1.rs";

/// Set to write the generated code instead of comparing it.
const UPDATE: &str = "LOOPTOP_UPDATE_GENERATED";

#[test]
fn committed_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile(["looptop.lab.v1.proto"], [root.join("proto")]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    let generated = fs::read_to_string(out.path().join("looptop.lab.v1.rs")).unwrap();
    let committed = root.join(COMMITTED);
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(committed.parent().unwrap()).unwrap();
        fs::write(&committed, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&committed).unwrap_or_default() == generated,
        "{COMMITTED} differs from what the protocol file generates; \
         run the test with {UPDATE}=1 and commit the result"
    );
}
