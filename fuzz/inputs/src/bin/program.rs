//! The program whose memory is dumped: tasks that wait, one of each kind.

#[path = "../../../../outside/tests/awaits/program.rs"]
mod program;

fn main() {
    program::run();
}
