//! The host's side: the whole trie, in pages, with proofs and speculation. Not part of the trusted
//! code: what it gets wrong, the HSM refuses.
//!
//! A page holds four levels: the nodes at depths d+1 … d+4 under one node at depth d, where d is a
//! multiple of 4. Of them it stores leaves, and inner hashes at its lowest level; the rest is
//! hashed again on load. At 10 million records an update rewrites 6 pages of at most 535 bytes, the
//! upper ones shared by a batch; upper pages stay in a bounded cache.
//!
//! Speculation: each [`Trie::apply`] makes an overlay. [`Trie::commit_oldest`] gives its pages for
//! the caller to store; [`Trie::drop_speculation`] forgets all of them.

mod page;

use crate::proof::{TAG_EMPTY, TAG_INNER, TAG_LEAF, TAG_STUB};
use crate::{DEPTH_MAX, EMPTY, Hash, Key, bit, inner_hash};
use page::{LEVELS, Page, Slot};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Where pages are kept.
pub trait Pages {
    /// What can go wrong.
    type Error;

    /// The page stored last under an id, if any.
    ///
    /// # Errors
    /// The store's own.
    fn load(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Why the trie could not answer.
#[derive(Debug)]
pub enum TrieError<E> {
    /// The store failed.
    Store(E),
    /// A page is missing or damaged: the caller's data is lost or was changed.
    PageCorrupt,
}

/// One page to store (or, if `None`, to delete) with the entry that made it.
pub type PageWrite = (Vec<u8>, Option<Vec<u8>>);

type PageMap = HashMap<Vec<u8>, Arc<Page>>;

struct Overlay {
    pages: PageMap,
    root: Slot,
}

/// The trie.
pub struct Trie<P> {
    store: P,
    root: Slot,
    overlays: VecDeque<Overlay>,
    hot: PageMap,
    cold: PageMap,
    cache_pages: usize,
}

/// The id under which the root node is stored.
const ROOT_ID: &[u8] = &[0xff];

/// One change: a key and its new value, or none to remove it.
pub type Change = (Key, Option<Hash>);

impl<P: Pages> Trie<P> {
    /// Opens the trie in a store; an empty store is the empty trie. Keeps up to twice `cache_pages`
    /// pages (about 2 KiB each) in memory.
    ///
    /// # Errors
    /// [`TrieError`].
    pub fn open(store: P, cache_pages: usize) -> Result<Self, TrieError<P::Error>> {
        let root = match store.load(ROOT_ID).map_err(TrieError::Store)? {
            None => Slot::Empty,
            Some(bytes) => Slot::decode_whole(&bytes).ok_or(TrieError::PageCorrupt)?,
        };
        Ok(Self {
            store,
            root,
            overlays: VecDeque::new(),
            hot: PageMap::new(),
            cold: PageMap::new(),
            cache_pages: cache_pages.max(64),
        })
    }

    /// The store it reads from.
    pub fn store(&self) -> &P {
        &self.store
    }

    /// The root, speculation included.
    pub fn root(&self) -> Hash {
        self.root_slot().hash()
    }

    /// The root without speculation.
    pub fn committed_root(&self) -> Hash {
        self.root.hash()
    }

    /// Batches applied and not committed.
    pub fn speculative(&self) -> usize {
        self.overlays.len()
    }

    /// The value under a key, speculation included.
    ///
    /// # Errors
    /// [`TrieError`].
    pub fn get(&mut self, key: &Key) -> Result<Option<Hash>, TrieError<P::Error>> {
        let mut slot = self.root_slot().clone();
        let mut depth = 0;
        while matches!(slot, Slot::Inner(_)) {
            slot = self.slot(depth + 1, key)?;
            depth += 1;
        }
        Ok(match slot {
            Slot::Leaf { key: found, value } if found == *key => Some(value),
            _ => None,
        })
    }

    /// One proof for all of `keys`; for those in `removing` it also shows the siblings.
    ///
    /// # Errors
    /// [`TrieError`].
    pub fn prove(
        &mut self,
        keys: &[Key],
        removing: &[Key],
    ) -> Result<Vec<u8>, TrieError<P::Error>> {
        let mut wanted: Vec<(Key, bool)> = keys.iter().map(|k| (*k, false)).collect();
        wanted.extend(removing.iter().map(|k| (*k, true)));
        // A key wanted both ways is shown with its sibling.
        wanted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        wanted.dedup_by_key(|(key, _)| *key);
        let mut out = Vec::with_capacity(wanted.len() * 700 + 64);
        let root = self.root_slot().clone();
        self.prove_node(&root, &[0; 32], 0, &wanted, false, &mut out)?;
        Ok(out)
    }

    fn prove_node(
        &mut self,
        slot: &Slot,
        path: &Key,
        depth: usize,
        wanted: &[(Key, bool)],
        open: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), TrieError<P::Error>> {
        match slot {
            Slot::Empty => out.push(TAG_EMPTY),
            Slot::Leaf { key, value } if open || !wanted.is_empty() || depth == 0 => {
                out.push(TAG_LEAF);
                out.extend_from_slice(key);
                out.extend_from_slice(value);
            }
            Slot::Inner(_) if open || !wanted.is_empty() => {
                let path = wanted.first().map_or(*path, |(key, _)| *key);
                let (left, right) = self.children(depth, &path)?;
                let split = wanted.partition_point(|(key, _)| !bit(key, depth));
                let (lefts, rights) = wanted.split_at(split);
                // The only key here that is to be removed: its sibling must show what it is.
                let removes = |side: &[(Key, bool)]| side.iter().any(|(_, removing)| *removing);
                out.push(TAG_INNER);
                let (to_left, to_right) =
                    (with_bit(&path, depth, false), with_bit(&path, depth, true));
                self.prove_node(&left, &to_left, depth + 1, lefts, removes(rights), out)?;
                self.prove_node(&right, &to_right, depth + 1, rights, removes(lefts), out)?;
            }
            hidden => {
                out.push(TAG_STUB);
                out.extend_from_slice(&hidden.hash());
            }
        }
        Ok(())
    }

    /// Applies changes on top of all speculation; gives the new root.
    ///
    /// # Errors
    /// [`TrieError`]; nothing is applied then.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Hash, TrieError<P::Error>> {
        let mut sorted: Vec<Change> = changes.to_vec();
        // Of several changes to one key the last one counts.
        sorted.reverse();
        sorted.sort_by_key(|(key, _)| *key);
        sorted.dedup_by_key(|(key, _)| *key);
        let old = self.root_slot().clone();
        self.overlays.push_back(Overlay {
            pages: PageMap::new(),
            root: old.clone(),
        });
        match self.update(old, 0, &sorted) {
            Ok(root) => {
                let hash = root.hash();
                self.overlays.back_mut().expect("it was pushed above").root = root;
                Ok(hash)
            }
            Err(error) => {
                self.overlays.pop_back();
                Err(error)
            }
        }
    }

    /// Makes the oldest batch permanent: the pages to store, atomically with what they belong to.
    pub fn commit_oldest(&mut self) -> Vec<PageWrite> {
        let Some(overlay) = self.overlays.pop_front() else {
            return Vec::new();
        };
        let mut writes = Vec::with_capacity(overlay.pages.len() + 1);
        for (id, page) in overlay.pages {
            writes.push((id.clone(), page.encode()));
            self.remember(id, page);
        }
        self.root = overlay.root;
        writes.push((ROOT_ID.to_vec(), Some(self.root.encode_whole())));
        writes
    }

    /// Forgets every batch that is not committed.
    pub fn drop_speculation(&mut self) {
        self.overlays.clear();
    }

    fn root_slot(&self) -> &Slot {
        self.overlays
            .back()
            .map_or(&self.root, |overlay| &overlay.root)
    }

    /// The subtree at `depth` after the changes, which all lie in it.
    fn update(
        &mut self,
        slot: Slot,
        depth: usize,
        changes: &[Change],
    ) -> Result<Slot, TrieError<P::Error>> {
        let Some((path, _)) = changes.first().copied() else {
            return Ok(slot);
        };
        match slot {
            Slot::Inner(_) => {
                let (left, right) = self.children(depth, &path)?;
                let split = changes.partition_point(|(key, _)| !bit(key, depth));
                let (lefts, rights) = changes.split_at(split);
                let left = self.update(left, depth + 1, lefts)?;
                let right = self.update(right, depth + 1, rights)?;
                self.join(depth, &path, left, right)
            }
            Slot::Empty => self.build(depth, &puts(changes)),
            Slot::Leaf { key, value } => {
                let mut items = puts(changes);
                if changes.binary_search_by_key(&key, |(key, _)| *key).is_err() {
                    let at = items.partition_point(|(other, _)| *other < key);
                    items.insert(at, (key, value));
                }
                self.build(depth, &items)
            }
        }
    }

    /// A subtree at `depth` of these leaves, sorted by key.
    fn build(&mut self, depth: usize, items: &[(Key, Hash)]) -> Result<Slot, TrieError<P::Error>> {
        match items {
            [] => Ok(Slot::Empty),
            [(key, value)] => Ok(Slot::Leaf {
                key: *key,
                value: *value,
            }),
            [(path, _), ..] => {
                assert!(
                    depth < DEPTH_MAX,
                    "sorted, distinct keys part within their length"
                );
                let split = items.partition_point(|(key, _)| !bit(key, depth));
                let (lefts, rights) = items.split_at(split);
                let left = self.build(depth + 1, lefts)?;
                let right = self.build(depth + 1, rights)?;
                self.join(depth, path, left, right)
            }
        }
    }

    /// Stores two children and gives their parent; a lone leaf moves up instead.
    fn join(
        &mut self,
        depth: usize,
        path: &Key,
        left: Slot,
        right: Slot,
    ) -> Result<Slot, TrieError<P::Error>> {
        let parent = match (&left, &right) {
            (Slot::Empty, Slot::Empty) => Slot::Empty,
            (Slot::Empty, leaf @ Slot::Leaf { .. }) | (leaf @ Slot::Leaf { .. }, Slot::Empty) => {
                leaf.clone()
            }
            _ => Slot::Inner(inner_hash(&left.hash(), &right.hash())),
        };
        let stays = matches!(parent, Slot::Inner(_));
        let (left, right) = if stays {
            (left, right)
        } else {
            (Slot::Empty, Slot::Empty)
        };
        let id = page::id(depth, path);
        let mut page = self.page(&id)?;
        let changed = Arc::make_mut(&mut page);
        changed.set(depth, &with_bit(path, depth, false), left);
        changed.set(depth, &with_bit(path, depth, true), right);
        let overlay = self.overlays.back_mut().expect("apply pushed one");
        overlay.pages.insert(id, page);
        Ok(parent)
    }

    fn children(&mut self, depth: usize, path: &Key) -> Result<(Slot, Slot), TrieError<P::Error>> {
        let left = self.slot(depth + 1, &with_bit(path, depth, false))?;
        let right = self.slot(depth + 1, &with_bit(path, depth, true))?;
        if left.hash() == EMPTY && right.hash() == EMPTY {
            return Err(TrieError::PageCorrupt);
        }
        Ok((left, right))
    }

    /// The node at `depth` (≥ 1) on the path.
    fn slot(&mut self, depth: usize, path: &Key) -> Result<Slot, TrieError<P::Error>> {
        let page = self.page(&page::id(depth - 1, path))?;
        Ok(page.get(depth - 1, path).clone())
    }

    fn page(&mut self, id: &[u8]) -> Result<Arc<Page>, TrieError<P::Error>> {
        if let Some(page) = self.overlays.iter().rev().find_map(|o| o.pages.get(id)) {
            return Ok(page.clone());
        }
        if let Some(page) = self.hot.get(id) {
            return Ok(page.clone());
        }
        let page = match self.cold.get(id) {
            Some(page) => page.clone(),
            None => Arc::new(match self.store.load(id).map_err(TrieError::Store)? {
                None => Page::default(),
                Some(bytes) => Page::decode(&bytes).ok_or(TrieError::PageCorrupt)?,
            }),
        };
        self.remember(id.to_vec(), page.clone());
        Ok(page)
    }

    /// Two generations: what was not used while one filled up is forgotten.
    fn remember(&mut self, id: Vec<u8>, page: Arc<Page>) {
        if self.hot.len() >= self.cache_pages {
            self.cold = std::mem::take(&mut self.hot);
        }
        self.hot.insert(id, page);
    }
}

fn puts(changes: &[Change]) -> Vec<(Key, Hash)> {
    changes
        .iter()
        .filter_map(|(key, value)| value.map(|value| (*key, value)))
        .collect()
}

pub(crate) fn with_bit(path: &Key, depth: usize, right: bool) -> Key {
    let mut key = *path;
    let mask = 0x80 >> (depth % 8);
    if right {
        key[depth / 8] |= mask;
    } else {
        key[depth / 8] &= !mask;
    }
    key
}

const _: () = assert!(LEVELS == 4, "page ids count nibbles");
