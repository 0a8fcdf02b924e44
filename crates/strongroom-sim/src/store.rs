//! A page store in memory, for the host's side of the trie.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::rc::Rc;
use strongroom_tree::prover::{PageWrite, Pages};

/// Pages by id; clones share them.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<HashMap<Vec<u8>, Vec<u8>>>>);

impl Memory {
    /// Pages of its own, equal to these.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }

    /// Stores what a commit gave.
    pub fn write(&self, writes: Vec<PageWrite>) {
        let mut pages = self.0.borrow_mut();
        for (id, page) in writes {
            match page {
                Some(bytes) => drop(pages.insert(id, bytes)),
                None => drop(pages.remove(&id)),
            }
        }
    }
}

impl Pages for Memory {
    type Error = Infallible;

    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.borrow().get(id).cloned())
    }
}
