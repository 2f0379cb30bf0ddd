//! Who waits for what, who can give it, and what that one waits for: of the model's waits a
//! graph, and the words in which the screen, reports and dumps say it.

mod graph;
mod place;
mod rings;
mod words;

#[cfg(test)]
mod tests;

pub use graph::{Graph, Holder, Member, Party, Ring};
pub use place::{Place, Whose, function_words, is_polled, kept_in, place, whose};
pub use rings::Rings;
pub use words::{
    LIKELY_FUTURES, LIKELY_HOLDER, across_text, any_job, asked_of, asked_text, at_text, called_by,
    held_across, hold_of, hold_text, holders_text, kind, kind_text, location_text, party_text,
    polled_wants, resource_name, resource_text, task_text, waited, waiting_text, waits_text,
    want_text,
};
