//! Files in the directories the host lends, through 0.3's own interface, which std does not use yet.

use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip3::http::types::Request;
use zoo::{Answer, Query};

use crate::bodies::Reader;

pub async fn read(query: &Query) -> Answer {
    match contents(path(query)).await {
        Ok(bytes) => Answer::ok(String::from_utf8_lossy(&bytes)),
        Err(error) => Answer::failed(error),
    }
}

async fn contents(path: &str) -> Result<Vec<u8>, ErrorCode> {
    let file = open(path, OpenFlags::empty(), DescriptorFlags::READ).await?;
    let (stream, result) = file.read_via_stream(0);
    let bytes = stream.collect().await;
    result.await?;
    Ok(bytes)
}

pub async fn write(query: &Query, request: Request) -> Answer {
    match store(path(query), Reader::of_request(request)).await {
        Ok(length) => Answer::ok(format!("wrote {length} bytes\n")),
        Err(error) => Answer::failed(error),
    }
}

async fn store(path: &str, body: Reader) -> Result<u64, ErrorCode> {
    let file = open(path, OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE).await?;
    file.write_via_stream(body.stream(), 0).await?;
    Ok(file.stat().await?.size)
}

pub async fn list(query: &Query) -> Answer {
    match names(path(query)).await {
        Ok(names) => Answer::ok(zoo::sorted_lines(names)),
        Err(error) => Answer::failed(error),
    }
}

async fn names(path: &str) -> Result<Vec<String>, ErrorCode> {
    let directory = open(path, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
    let (stream, result) = directory.read_directory();
    let entries = stream.collect().await;
    result.await?;
    Ok(entries.into_iter().map(|entry| entry.name).collect())
}

/// Opens `path` in the first lent directory that holds it.
async fn open(path: &str, how: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
    for (directory, mount) in preopens::get_directories() {
        let Some(inside) = path.strip_prefix(mount.trim_end_matches('/')) else { continue };
        if inside.is_empty() || inside.starts_with('/') {
            let inside = inside.trim_start_matches('/');
            let inside = if inside.is_empty() { "." } else { inside };
            return directory.open_at(PathFlags::SYMLINK_FOLLOW, inside.to_owned(), how, flags).await;
        }
    }
    Err(ErrorCode::NoEntry)
}

fn path(query: &Query) -> &str {
    query.text("path").unwrap_or("/")
}
