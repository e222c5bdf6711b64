//! `sphex cache info` and `sphex cache clean`.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::folder::{self, Refusal};
use super::sweep::{self, Found, Survey};
use super::{Cache, limit};
use crate::exit::{Failure, Result, print};
use crate::options::{CacheCommand, Options};

/// Does what the command says.
pub fn execute(command: &CacheCommand) -> Result {
    match command {
        CacheCommand::Info => info(),
        CacheCommand::Clean => clean(),
    }
}

fn info() -> Result {
    let Some(path) = folder::path() else {
        return print("folder        none: neither XDG_CACHE_HOME nor HOME says where it could be\n");
    };
    let mut text = format!("folder        {}\nthis build    {}\n", path.display(), folder::own_name());
    let limit = limit(std::env::var("SPHEX_CACHE_SIZE").ok().as_deref());
    let enabled = Cache::new(&Options::default()).enabled;
    let _ = writeln!(text, "used          {}", if enabled { "yes" } else { "no: SPHEX_CACHE turns it off" });
    let _ = writeln!(text, "limit         {}", size(limit));
    match folder::root() {
        Err(Refusal(reason)) => {
            let _ = writeln!(text, "not usable    {reason}");
        }
        Ok(None) => text += "entries       none yet\n",
        Ok(Some(root)) => {
            let survey = Survey::new(&root);
            let (own, others): (Vec<_>, Vec<_>) =
                survey.entries.iter().partition(|entry| survey.is_own(entry));
            let _ = writeln!(text, "entries       {}", amount(&own));
            let _ = writeln!(text, "other builds  {}", amount(&others));
            let _ = writeln!(text, "unfinished    {}", survey.temporaries.len());
            let _ = writeln!(text, "foreign       {}", survey.foreign);
        }
    }
    print(&text)
}

fn clean() -> Result {
    let root = folder::root().map_err(|Refusal(reason)| Failure::Error(anyhow::anyhow!("{reason}")))?;
    let Some(root) = root else { return print("removed 0 entries\n") };
    let survey = Survey::new(&root);
    let (entries, bytes) = survey.remove_all();
    survey.remove_abandoned(SystemTime::now());
    survey.remove_empty(&root, true);
    sweep::remove_stamp(&root);
    print(&format!("removed {entries} entries, {}\n", size(bytes)))
}

fn amount(entries: &[&Found]) -> String {
    format!("{}, {}", entries.len(), size(entries.iter().map(|entry| entry.bytes).sum()))
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        let sizes = [0, 1023, 1024, 5 << 20, 2 << 30].map(size);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "2.0 GiB"]);
    }
}
