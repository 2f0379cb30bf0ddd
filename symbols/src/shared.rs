//! What was read of files, once for all who hold it at the same time.
//!
//! A viewer of many processes of one program has its tables in memory once. They are of a
//! file's identity and not of its build id, which whoever makes a file chooses: names of one
//! process must not come from the file of another.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use looptop_procfs::FileId;

/// What is held of each file.
pub(crate) struct Shared<K, T>(LazyLock<Mutex<HashMap<K, Arc<Place<T>>>>>);

/// Where one is, while somebody holds it. Locked while it is read.
type Place<T> = Mutex<Weak<T>>;

impl<K: Eq + Hash, T> Shared<K, T> {
    pub(crate) const fn new() -> Self {
        Self(LazyLock::new(Mutex::default))
    }

    /// What somebody holds, or what `load` reads. Who asks meanwhile waits for it; what
    /// cannot be read is tried again by whoever asks next.
    pub(crate) fn get<E>(&self, key: K, load: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let place = {
            let mut places = lock(&self.0);
            // Those that nobody holds, and nobody is about to.
            places
                .retain(|_, place| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0);
            Arc::clone(places.entry(key).or_default())
        };
        let mut held = lock(&place);
        if let Some(known) = held.upgrade() {
            return Ok(known);
        }
        let loaded = Arc::new(load()?);
        *held = Arc::downgrade(&loaded);
        Ok(loaded)
    }
}

impl<T> Shared<FileId, T> {
    /// The same of the file at a path; where its identity is not known, it is read for
    /// whoever asks alone.
    pub(crate) fn of<E>(
        &self,
        path: &Path,
        load: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        match FileId::at(path) {
            Ok(file) => self.get(file, load),
            Err(_) => load().map(Arc::new),
        }
    }
}

/// What a thread has left that panicked is as good as before: tables that are added to.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_is_read_once_while_somebody_holds_it() {
        static SHARED: Shared<u32, usize> = Shared::new();
        let reads = AtomicUsize::new(0);
        let read = || Ok::<_, Infallible>(reads.fetch_add(1, Ordering::Relaxed));
        let get = |key| SHARED.get(key, read).unwrap();
        let all: Vec<Arc<usize>> = std::thread::scope(|scope| {
            let asks: Vec<_> = (0..8).map(|_| scope.spawn(|| get(1))).collect();
            asks.into_iter().map(|ask| ask.join().unwrap()).collect()
        });
        assert!(all.iter().all(|one| **one == 0), "{all:?}");
        assert_eq!(*get(2), 1, "another file");
        drop(all);
        assert_eq!(*get(1), 2, "nobody held it");
        assert_eq!(lock(&SHARED.0).len(), 1, "what nobody holds has no place");
    }

    #[test]
    fn what_cannot_be_read_is_tried_again() {
        static SHARED: Shared<u32, u32> = Shared::new();
        assert_eq!(SHARED.get(1, || Err::<u32, _>("no")), Err("no"));
        assert_eq!(SHARED.get(1, || Ok::<_, &str>(5)).as_deref(), Ok(&5));
    }
}
