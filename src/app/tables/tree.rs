//! Tasks as a tree: each below the one that spawned it.

use std::collections::{HashMap, HashSet};

use crate::model::{Task, TaskId, Tasks};

/// Puts `sorted` in the order of a tree, siblings in the order given, and returns
/// how deep each task is. A task whose parent is not among them is a root.
pub fn tree(tasks: &Tasks, sorted: &[TaskId]) -> (Vec<TaskId>, HashMap<TaskId, u8>) {
    let all: HashSet<TaskId> = sorted.iter().copied().collect();
    let mut children: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
    let mut roots = Vec::new();
    for id in sorted {
        let parent = tasks.get(*id).and_then(Task::parent);
        match parent.filter(|parent| all.contains(parent) && parent != id) {
            Some(parent) => children.entry(parent).or_default().push(*id),
            None => roots.push(*id),
        }
    }
    let mut order = Vec::with_capacity(sorted.len());
    let mut depths = HashMap::with_capacity(sorted.len());
    // What a peer claims may go in a circle: its members are roots at the end.
    for root in roots.iter().chain(sorted) {
        let mut open = vec![(*root, 0_u8)];
        while let Some((id, depth)) = open.pop() {
            if depths.contains_key(&id) {
                continue;
            }
            order.push(id);
            depths.insert(id, depth);
            let below = children.get(&id).into_iter().flatten().rev();
            open.extend(below.map(|child| (*child, depth.saturating_add(1))));
        }
    }
    (order, depths)
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use crate::model::{Model, Moment, fixtures};

    use super::*;

    fn tasks(parents: &[(u64, u64)]) -> Tasks {
        let mut model = Model::new(&fixtures::hello());
        let frame = proto::Frame {
            tasks: Some(proto::Tasks {
                id: parents.iter().map(|(id, _)| *id).collect(),
                parent: parents.iter().map(|(_, parent)| *parent).collect(),
                ..proto::Tasks::default()
            }),
            ..fixtures::frame(Moment(1))
        };
        model.apply(&frame).unwrap();
        model.tasks
    }

    #[test]
    fn children_follow_their_parent_in_the_order_given() {
        let tasks = tasks(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 99)]);
        let sorted = [5, 4, 3, 2, 1].map(TaskId);
        let (order, depths) = tree(&tasks, &sorted);
        assert_eq!(order, [5, 1, 3, 2, 4].map(TaskId));
        let depths: Vec<u8> = order.iter().map(|id| depths[id]).collect();
        assert_eq!(depths, [0, 0, 1, 1, 2]);
    }

    #[test]
    fn a_circle_loses_nobody() {
        let tasks = tasks(&[(1, 2), (2, 1), (3, 3)]);
        let (order, _) = tree(&tasks, &[1, 2, 3].map(TaskId));
        assert_eq!(order, [3, 1, 2].map(TaskId));
    }
}
