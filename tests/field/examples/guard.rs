//! Each program's main future under `#[looptop_agent::test]`, on runtimes of several
//! kinds. `tests/field.rs` of the workspace runs them, each in a process of its own,
//! and knows from the table which turn red.
//!
//! The programs end never, so what they leave running is no leak where polls are looked
//! at; where tasks are, the canary may stay.

macro_rules! programs {
    ($($name:ident $file:literal,)*) => {
        $(
            #[path = $file]
            mod $name;
        )*

        mod polls {
            mod one_thread {
                $(
                    #[looptop_agent::test(max_poll = "40ms", leak = false)]
                    #[ignore = "run by the table"]
                    async fn $name() {
                        field::guard::for_a_while(crate::$name::main).await;
                    }
                )*
            }

            mod two_workers {
                $(
                    #[looptop_agent::test(
                        flavor = "multi_thread", worker_threads = 2, max_poll = "40ms", leak = false
                    )]
                    #[ignore = "run by the table"]
                    async fn $name() {
                        field::guard::for_a_while(crate::$name::main).await;
                    }
                )*
            }

            mod many_workers {
                $(
                    #[looptop_agent::test(
                        flavor = "multi_thread", worker_threads = 32, max_poll = "40ms", leak = false
                    )]
                    #[ignore = "run by the table"]
                    async fn $name() {
                        field::guard::for_a_while(crate::$name::main).await;
                    }
                )*
            }
        }

        mod tasks {
            $(
                #[looptop_agent::test(
                    flavor = "multi_thread", worker_threads = 2, allow = ["canary"]
                )]
                #[ignore = "run by the table"]
                async fn $name() {
                    field::guard::for_a_while(crate::$name::main).await;
                }
            )*
        }
    };
}

// Not here: c15_pool_self, own_runtimes and pool_shutdown make their runtimes themselves.
programs! {
    bcrypt_login "../src/bin/bcrypt_login.rs",
    c01_rwlock_recursive "../src/bin/c01_rwlock_recursive.rs",
    c02_abba "../src/bin/c02_abba.rs",
    c04_select_send "../src/bin/c04_select_send.rs",
    c07_emfile "../src/bin/c07_emfile.rs",
    c08_burst "../src/bin/c08_burst.rs",
    c09_joinset "../src/bin/c09_joinset.rs",
    c13_ready_stream "../src/bin/c13_ready_stream.rs",
    c19_watch_borrow "../src/bin/c19_watch_borrow.rs",
    c20_permit_forgotten "../src/bin/c20_permit_forgotten.rs",
    c25_closed_spin "../src/bin/c25_closed_spin.rs",
    c26_too_many_workers "../src/bin/c26_too_many_workers.rs",
    c28_slow_gauge "../src/bin/c28_slow_gauge.rs",
    cpu_exact "../src/bin/cpu_exact.rs",
    crossbeam_recv "../src/bin/crossbeam_recv.rs",
    ctl_block_in_place "../src/bin/ctl_block_in_place.rs",
    dashmap_await "../src/bin/dashmap_await.rs",
    drop_block_on "../src/bin/drop_block_on.rs",
    drop_join "../src/bin/drop_join.rs",
    fifo_read "../src/bin/fifo_read.rs",
    flock_wait "../src/bin/flock_wait.rs",
    fs_pool "../src/bin/fs_pool.rs",
    guard_over_await "../src/bin/guard_over_await.rs",
    idle_by_design "../src/bin/idle_by_design.rs",
    listener_wait "../src/bin/listener_wait.rs",
    log_pipe "../src/bin/log_pipe.rs",
    mmap_cold "../src/bin/mmap_cold.rs",
    mpsc_recv "../src/bin/mpsc_recv.rs",
    pool_nested "../src/bin/pool_nested.rs",
    rayon_install "../src/bin/rayon_install.rs",
    rwlock_reader "../src/bin/rwlock_reader.rs",
    rwlock_writer "../src/bin/rwlock_writer.rs",
    silent_peer "../src/bin/silent_peer.rs",
    sqlite_busy "../src/bin/sqlite_busy.rs",
    std_command "../src/bin/std_command.rs",
    stdin_repl "../src/bin/stdin_repl.rs",
    steady_leak "../src/bin/steady_leak.rs",
    stuck_from_start "../src/bin/stuck_from_start.rs",
    three_fight "../src/bin/three_fight.rs",
}

#[cfg(not(test))]
fn main() {}
