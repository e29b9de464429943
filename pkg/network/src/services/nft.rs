// SPDX-License-Identifier: Apache-2.0

//! Transactions through the `nft` program.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Error;

/// Hands `transaction` to the kernel, whole or not at all.
pub(crate) async fn apply(table: &str, transaction: &str) -> Result<(), Error> {
    let failed = |message: String| Error::Nft { table: table.to_owned(), message };
    let start = |error| failed(format!("cannot run nft ({error}): install the package nftables"));
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let mut input = child.stdin.take();
    let write = async {
        if let Some(input) = &mut input {
            let _ = input.write_all(transaction.as_bytes()).await; // nft says itself why it stopped reading
        }
        drop(input);
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    let output = output.map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().take(6).collect::<Vec<_>>().join("; ")))
}

/// Deletes a table; false if there was none.
pub(crate) async fn delete(table: &str) -> Result<bool, Error> {
    match apply(table, &format!("delete table inet {table}\n")).await {
        Ok(()) => Ok(true),
        Err(Error::Nft { message, .. }) if message.contains("No such file or directory") => Ok(false),
        Err(error) => Err(error),
    }
}
