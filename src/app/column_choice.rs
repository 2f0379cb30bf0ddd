//! Which columns the tables show, and in which order, as the configuration says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Head, tables, tables::TableId};

/// The columns of some tables by their ids; other tables show all they have.
/// Of those that are chosen, as many as fit are shown, by their priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<TableId, Vec<String>>")]
pub struct ColumnChoice(BTreeMap<TableId, Vec<String>>);

/// A column that a table does not have, has twice, or none at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WrongColumns {
    /// No such column.
    #[error("the table has no column \"{column}\"; it has {all}")]
    Unknown {
        /// As it was written.
        column: String,
        /// Those that there are.
        all: String,
    },
    /// The same column twice.
    #[error("column \"{0}\" is named twice")]
    Twice(String),
    /// An empty list.
    #[error("a table needs at least one column")]
    None,
}

impl TryFrom<BTreeMap<TableId, Vec<String>>> for ColumnChoice {
    type Error = WrongColumns;

    fn try_from(chosen: BTreeMap<TableId, Vec<String>>) -> Result<Self, WrongColumns> {
        for (table, columns) in &chosen {
            check(&tables::heads(*table), columns)?;
        }
        Ok(Self(chosen))
    }
}

fn check(heads: &[&Head], columns: &[String]) -> Result<(), WrongColumns> {
    if columns.is_empty() {
        return Err(WrongColumns::None);
    }
    for (n, column) in columns.iter().enumerate() {
        if !heads.iter().any(|head| head.id == column) {
            let all: Vec<&str> = heads.iter().map(|head| head.id).collect();
            return Err(WrongColumns::Unknown {
                column: column.clone(),
                all: all.join(", "),
            });
        }
        if columns[..n].contains(column) {
            return Err(WrongColumns::Twice(column.clone()));
        }
    }
    Ok(())
}

impl ColumnChoice {
    /// Nothing is chosen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the columns of a table were chosen.
    pub fn names(&self, table: TableId) -> bool {
        self.0.contains_key(&table)
    }

    /// The columns of a table that may be shown, in their order.
    pub fn of(&self, table: TableId) -> Vec<usize> {
        let heads = tables::heads(table);
        match self.0.get(&table) {
            None => (0..heads.len()).collect(),
            Some(ids) => {
                let place = |id: &String| heads.iter().position(|head| head.id == id);
                ids.iter().filter_map(place).collect()
            }
        }
    }
}
