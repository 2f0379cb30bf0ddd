//! Tables: facts, and who is stuck, in which rings.

use super::*;

const A: Party = Party::Task(1);
const B: Party = Party::Task(2);
const C: Party = Party::Task(3);
const D: Party = Party::Thread(40);
const ALL: u64 = 1_000;

#[derive(Clone, Copy)]
enum Fact {
    /// A mutex, with as many permits as there are.
    Mutex(u64),
    /// A lock of many readers.
    RwLock(u64),
    /// A semaphore of which only the free permits are known.
    Semaphore(u64, u64),
    /// A channel with so many senders.
    Channel(u64, u64),
    Holds(Party, u64, HoldRole),
    Probably(Party, u64, HoldRole),
    Waits(Party, Target),
    Any(Party, &'static [Target]),
    All(Party, &'static [Target]),
}
use Fact::{Any, Channel, Holds, Mutex, Probably, RwLock, Semaphore};

const fn permit(resource: u64) -> Target {
    Target::Permits {
        resource,
        amount: 1,
    }
}

const ONE: HoldRole = HoldRole::Permits(1);

fn want(target: Target) -> Need {
    Need::One(Want {
        target,
        place: None,
    })
}

fn graph(facts: &[Fact]) -> Waits {
    let mut waits = Waits::new();
    let resource = |address, kind, free, total, senders| Resource {
        address,
        kind,
        free,
        total,
        senders,
        name: None,
    };
    let hold = |party, resource, role, is_certain| Hold {
        party,
        resource,
        role,
        name: None,
        place: None,
        is_certain,
    };
    for fact in facts {
        match *fact {
            Mutex(at) => waits.resource(resource(at, ResourceKind::Mutex, Some(0), Some(1), None)),
            RwLock(at) => {
                waits.resource(resource(at, ResourceKind::RwLock, Some(0), Some(ALL), None));
            }
            Semaphore(at, free) => {
                waits.resource(resource(
                    at,
                    ResourceKind::Semaphore,
                    Some(free),
                    None,
                    None,
                ));
            }
            Channel(at, senders) => {
                waits.resource(resource(at, ResourceKind::Mpsc, None, None, Some(senders)));
            }
            Holds(party, at, role) => waits.hold(hold(party, at, role, true)),
            Probably(party, at, role) => waits.hold(hold(party, at, role, false)),
            Fact::Waits(party, target) => waits.wait(party, want(target)),
            Any(party, targets) => {
                let any = targets.iter().map(|target| want(*target)).collect();
                waits.wait(party, Need::Any(any));
            }
            Fact::All(party, targets) => {
                let all = targets.iter().map(|target| want(*target)).collect();
                waits.wait(party, Need::All(all));
            }
        }
    }
    waits
}

/// Facts; who is stuck; the members of each ring, whether it is certain, and who is behind.
type Case = (
    &'static str,
    &'static [Fact],
    &'static [Party],
    &'static [(&'static [Party], bool, &'static [Party])],
);

const CASES: &[Case] = &[
    ("nothing", &[], &[], &[]),
    (
        "a holder that sleeps",
        &[
            Mutex(1),
            Holds(A, 1, ONE),
            Fact::Waits(A, Target::Outside),
            Fact::Waits(B, permit(1)),
        ],
        &[],
        &[],
    ),
    (
        "a holder that runs",
        &[Mutex(1), Holds(A, 1, ONE), Fact::Waits(B, permit(1))],
        &[],
        &[],
    ),
    (
        "two in opposite order, and one that waits behind",
        &[
            Mutex(1),
            Mutex(2),
            Holds(A, 1, ONE),
            Holds(B, 2, ONE),
            Fact::Waits(A, permit(2)),
            Fact::Waits(B, permit(1)),
            Fact::Waits(C, permit(1)),
        ],
        &[A, B, C],
        &[(&[A, B], true, &[C])],
    ),
    (
        "three, a thread among them",
        &[
            Mutex(1),
            Mutex(2),
            Mutex(3),
            Holds(A, 1, ONE),
            Holds(D, 2, ONE),
            Holds(B, 3, ONE),
            Fact::Waits(A, permit(2)),
            Fact::Waits(D, permit(3)),
            Fact::Waits(B, permit(1)),
        ],
        &[A, B, D],
        &[(&[A, D, B], true, &[])],
    ),
    (
        "one of the holders is only probable",
        &[
            Mutex(1),
            Mutex(2),
            Probably(A, 1, ONE),
            Holds(B, 2, ONE),
            Fact::Waits(A, permit(2)),
            Fact::Waits(B, permit(1)),
        ],
        &[A, B],
        &[(&[A, B], false, &[])],
    ),
    (
        "a time-out lets one of them go on",
        &[
            Mutex(1),
            Mutex(2),
            Holds(A, 1, ONE),
            Holds(B, 2, ONE),
            Any(A, &[permit(2), Target::Outside]),
            Fact::Waits(B, permit(1)),
        ],
        &[],
        &[],
    ),
    (
        "two branches, and both lead into the ring",
        &[
            Mutex(1),
            Mutex(2),
            Mutex(3),
            Holds(A, 1, ONE),
            Holds(B, 2, ONE),
            Holds(B, 3, ONE),
            Any(A, &[permit(2), permit(3)]),
            Fact::Waits(B, permit(1)),
        ],
        &[A, B],
        &[(&[A, B], true, &[])],
    ),
    (
        "a join of which one part never ends",
        &[
            Mutex(1),
            Mutex(2),
            Holds(A, 1, ONE),
            Holds(B, 2, ONE),
            Fact::All(A, &[permit(2), Target::Outside]),
            Fact::Waits(B, permit(1)),
        ],
        &[A, B],
        &[(&[A, B], true, &[])],
    ),
    (
        "read twice around a writer, to which all that was free is given",
        &[
            RwLock(1),
            Holds(A, 1, ONE),
            Holds(B, 1, HoldRole::Permits(ALL - 1)),
            Fact::Waits(A, permit(1)),
            Fact::Waits(B, permit(1)),
        ],
        &[A, B],
        &[(&[A, B], true, &[])],
    ),
    (
        "a writer that waits for readers, of which one is busy",
        &[
            RwLock(1),
            Holds(A, 1, ONE),
            Holds(C, 1, ONE),
            Fact::Waits(
                B,
                Target::Permits {
                    resource: 1,
                    amount: ALL,
                },
            ),
            Fact::Waits(A, Target::End(B)),
        ],
        &[A, B],
        &[(&[A, B], true, &[])],
    ),
    (
        "permits, all of them held by those that want more",
        &[
            Semaphore(1, 0),
            Holds(A, 1, ONE),
            Holds(B, 1, ONE),
            Fact::Waits(A, permit(1)),
            Fact::Waits(B, permit(1)),
        ],
        &[A, B],
        &[(&[A, B], false, &[])],
    ),
    (
        "permits, one of them held by somebody who works",
        &[
            Semaphore(1, 0),
            Holds(A, 1, ONE),
            Holds(C, 1, ONE),
            Fact::Waits(A, permit(1)),
        ],
        &[],
        &[],
    ),
    (
        "permits that nobody known holds",
        &[Semaphore(1, 0), Fact::Waits(A, permit(1))],
        &[],
        &[],
    ),
    (
        "a mutex whose holder is not known",
        &[
            Mutex(1),
            Fact::Waits(A, permit(1)),
            Fact::Waits(B, Target::End(A)),
        ],
        &[],
        &[],
    ),
    (
        "a task that waits for itself",
        &[Fact::Waits(A, Target::End(A))],
        &[A],
        &[(&[A], true, &[])],
    ),
    (
        "two that send into each other's full channel",
        &[
            Channel(1, 1),
            Channel(2, 1),
            Holds(A, 1, HoldRole::Receiver),
            Holds(B, 2, HoldRole::Receiver),
            Holds(A, 2, HoldRole::Sender),
            Holds(B, 1, HoldRole::Sender),
            Fact::Waits(A, Target::Room { resource: 2 }),
            Fact::Waits(B, Target::Room { resource: 1 }),
        ],
        &[A, B],
        &[(&[A, B], true, &[])],
    ),
    (
        "two that wait for each other's answer",
        &[
            Channel(1, 1),
            Channel(2, 1),
            Holds(A, 2, HoldRole::Sender),
            Holds(B, 1, HoldRole::Sender),
            Fact::Waits(A, Target::Message { resource: 1 }),
            Fact::Waits(B, Target::Message { resource: 2 }),
        ],
        &[A, B],
        &[(&[A, B], true, &[])],
    ),
    (
        "the same, and a sender that is not known",
        &[
            Channel(1, 2),
            Channel(2, 1),
            Holds(A, 2, HoldRole::Sender),
            Holds(B, 1, HoldRole::Sender),
            Fact::Waits(A, Target::Message { resource: 1 }),
            Fact::Waits(B, Target::Message { resource: 2 }),
        ],
        &[],
        &[],
    ),
    (
        "what never comes is nobody's ring",
        &[
            Fact::Waits(A, Target::Never),
            Fact::Waits(B, Target::End(A)),
        ],
        &[],
        &[],
    ),
    (
        "two rings, and one that waits for both",
        &[
            Mutex(1),
            Mutex(2),
            Holds(A, 1, ONE),
            Holds(B, 2, ONE),
            Fact::Waits(A, permit(1)),
            Fact::Waits(B, permit(2)),
            Fact::All(C, &[permit(1), permit(2)]),
        ],
        &[A, B, C],
        &[(&[A], true, &[C]), (&[B], true, &[C])],
    ),
];

#[test]
fn who_waits_for_ever() {
    for (what, facts, stuck, rings) in CASES {
        for facts in [facts.to_vec(), facts.iter().rev().copied().collect()] {
            let waits = graph(&facts);
            let found: Vec<Party> = waits.stuck().into_keys().collect();
            assert_eq!(found, *stuck, "{what}");
            let found = waits.rings();
            let found: Vec<(Vec<Party>, bool, &[Party])> = found
                .iter()
                .map(|ring| (ring.members().collect(), ring.is_certain, &ring.behind[..]))
                .collect();
            let expected: Vec<(Vec<Party>, bool, &[Party])> = rings
                .iter()
                .map(|(members, is_certain, behind)| (members.to_vec(), *is_certain, *behind))
                .collect();
            assert_eq!(found, expected, "{what}");
        }
    }
}

#[test]
fn each_link_of_a_ring_says_what_is_wanted_and_held() {
    let waits = graph(&[
        Mutex(1),
        Mutex(2),
        Holds(A, 1, ONE),
        Holds(B, 2, ONE),
        Fact::Waits(A, permit(2)),
        Fact::Waits(B, permit(1)),
    ]);
    let rings = waits.rings();
    let ring = &rings[0];
    for (link, party, giver, resource) in [(&ring.links[0], A, B, 2), (&ring.links[1], B, A, 1)] {
        assert_eq!((link.party, link.giver), (party, giver));
        assert_eq!(link.resource(), Some(resource));
        assert_eq!(link.hold.as_ref().unwrap().party, giver);
    }
}

#[test]
fn chains_lead_to_the_one_that_all_wait_for() {
    const BOTH: &[Target] = &[permit(1), permit(2)];
    let waits = graph(&[
        Mutex(1),
        Mutex(2),
        Holds(A, 1, ONE),
        Holds(B, 2, ONE),
        Fact::Waits(A, Target::Outside),
        Fact::Waits(B, permit(1)),
        Any(C, BOTH),
        Fact::Waits(D, Target::End(C)),
    ]);
    let chain = |party| -> Vec<Party> {
        let links = waits.longest_chain(party);
        links.iter().map(|link| link.giver).collect()
    };
    assert_eq!(chain(D), [C, B, A]);
    assert_eq!(chain(C), [B, A]);
    assert!(chain(A).is_empty());
    assert_eq!(waits.blocked_by(A), [B, C]);
    assert_eq!(waits.blocked_by(C), [D]);
    assert_eq!(
        waits.waiters(1).map(|(party, _)| party).collect::<Vec<_>>(),
        [B, C]
    );
    assert_eq!(waits.holders(2)[0].party, B);
}

/// Everybody waits for everybody: it ends, and is one ring and those behind it.
#[test]
fn many_that_wait_for_many_end() {
    let mut waits = Waits::new();
    for n in 0..100 {
        let others = (0..100).filter(|other| *other != n);
        let needs = others.map(|other| want(Target::End(Party::Task(other))));
        waits.wait(Party::Task(n), Need::Any(needs.collect()));
    }
    assert_eq!(waits.stuck().len(), 100);
    let rings = waits.rings();
    assert_eq!(
        (rings.len(), rings[0].links.len(), rings[0].behind.len()),
        (1, 2, 98)
    );
    assert!(waits.longest_chain(Party::Task(0)).len() <= 64);
}

/// So many that a round over all for each of them is seen as a test that does not end.
#[test]
fn twenty_thousand_in_a_ring_or_a_row_are_found() {
    const MANY: u64 = 20_000;
    let hold = |party, resource| Hold {
        party,
        resource,
        role: ONE,
        name: None,
        place: None,
        is_certain: true,
    };
    let task = Party::Task;
    // A ring of all, all in a row behind one that goes on, and all for what many have.
    for (what, last, is_ring) in [("a ring", true, true), ("a row", false, false)] {
        let mut waits = Waits::new();
        for n in 0..MANY {
            waits.hold(hold(task(n), n));
            if last || n + 1 < MANY {
                waits.wait(task(n), want(permit((n + 1) % MANY)));
            }
        }
        let rings = waits.rings();
        let found: Vec<usize> = rings.iter().map(|ring| ring.links.len()).collect();
        let expected = if is_ring {
            vec![MANY as usize]
        } else {
            Vec::new()
        };
        assert_eq!(found, expected, "{what}");
    }
    let mut waits = Waits::new();
    for n in 0..1_000 {
        waits.hold(hold(task(n), 1));
    }
    for n in 0..MANY {
        waits.wait(task(n), want(permit(1)));
    }
    let rings = waits.rings();
    let found: Vec<_> = rings
        .iter()
        .map(|r| (r.links.len(), r.behind.len()))
        .collect();
    assert_eq!(found, [(2, MANY as usize - 2)]);
}
