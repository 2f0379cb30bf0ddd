//! The committed code is what the protocol files generate.

use std::{fs, path::Path};

use tonic_prost_build::Builder;

/// Set to write the generated code instead of comparing it.
const UPDATE: &str = "LOOPTOP_UPDATE_GENERATED";

/// Fails unless `src/generated` holds what this package's file generates.
fn assert_current(package: &str, configured: impl FnOnce(Builder) -> Builder) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([format!("{package}.proto")], [root.join("proto")]).unwrap();
    configured(tonic_prost_build::configure())
        .build_transport(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    let file = format!("{package}.rs");
    let generated = fs::read_to_string(out.path().join(&file)).unwrap();
    let committed = root.join("src/generated").join(&file);
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(committed.parent().unwrap()).unwrap();
        fs::write(&committed, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&committed).unwrap_or_default() == generated,
        "{} differs from what the protocol file generates; \
         run the test with {UPDATE}=1 and commit the result",
        committed.display()
    );
}

#[test]
fn committed_code_of_the_agent_is_current() {
    assert_current("looptop.agent.v1", |builder| {
        builder
            .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
            .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
            .extern_path(".looptop.recording.v1", "crate::recorded")
    });
}

#[test]
fn committed_code_of_recordings_is_current() {
    assert_current("looptop.recording.v1", |builder| builder);
}
