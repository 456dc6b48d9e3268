//! The meters held against the ledger, while others write.
//!
//! Meters are read in parts, each with the entry that the ledger ended with at that moment. The entries are summed up to
//! just there before the part is compared, so that what is found differs in truth, whoever writes meanwhile. Only folding
//! changes what a meter and its entries were; a verification that meets it begins anew.

use std::collections::{BTreeMap, BTreeSet};

use agentic_core::{
    engine::ledger,
    error::{Error, Result},
    limit::MeterKey,
    port::Difference,
};

use crate::{args::Args, reply::Reply, rows::limit_field, script, store::RedisStore};

/// How many entries of the ledger one step reads.
const ENTRIES: &str = "500";

/// How much of a hash one step walks over, and how many fields it reads by name.
const PART: usize = 250;

/// How often a verification begins anew because the ledger was folded under it.
const VERIFICATIONS: usize = 5;

/// What meters stand at, or were moved by, by meter and bucket.
type Sums = BTreeMap<(MeterKey, i64), i64>;

/// Some meters, and where the ledger stood when they were read.
#[derive(Debug)]
struct Part {
    folds: u64,
    last: String,
    cursor: String,
    meters: Sums,
}

/// The entries that were read so far.
#[derive(Debug)]
struct Ledger {
    /// The id of the last one, '' before the first.
    last: String,
    sums: Sums,
}

impl RedisStore {
    /// See [`agentic_core::port::AllowanceStore::verify`].
    pub(crate) async fn verified(&self) -> Result<Vec<Difference>> {
        for _ in 0..VERIFICATIONS {
            if let Some(differences) = self.verify_once().await? {
                return Ok(differences);
            }
        }
        Err(Error::unavailable("the ledger, which is being folded,"))
    }

    /// What differs; nothing if the ledger was folded meanwhile.
    async fn verify_once(&self) -> Result<Option<Vec<Difference>>> {
        let mut part = self.part("opening", "0", &[]).await?;
        let folds = part.folds;
        let mut ledger = Ledger { last: String::new(), sums: part.meters };
        while part.cursor != "0" {
            part = self.part("opening", &part.cursor, &[]).await?;
            ledger.sums.append(&mut part.meters);
        }
        let mut seen = BTreeSet::new();
        let mut different = BTreeMap::new();
        let mut cursor = "0".to_owned();
        loop {
            let part = self.part("meters", &cursor, &[]).await?;
            self.read_up_to(&mut ledger, &part.last).await?;
            ledger.compare(&part.meters, &mut different);
            seen.extend(part.meters.into_keys());
            cursor = part.cursor;
            if cursor == "0" {
                break;
            }
        }
        // What was moved and is not among the meters, or came to them during the walk.
        let unseen: Vec<_> =
            ledger.sums.iter().filter(|(at, sum)| **sum != 0 && !seen.contains(at)).collect();
        let unseen: Vec<_> = unseen.into_iter().map(|(at, _)| at.clone()).collect();
        for some in unseen.chunks(PART) {
            let names: Vec<String> = some.iter().map(|(key, bucket)| format!("{key} {bucket}")).collect();
            let part = self.part("meters", "", &names).await?;
            self.read_up_to(&mut ledger, &part.last).await?;
            let mut meters: Sums = some.iter().map(|at| (at.clone(), 0)).collect();
            meters.extend(part.meters);
            ledger.compare(&meters, &mut different);
        }
        let unfolded = self.part("meters", "", &[]).await?.folds == folds;
        Ok(unfolded.then(|| different.into_values().collect()))
    }

    /// Reads a part of a walk over a hash, or, without a cursor, the fields of these names.
    async fn part(&self, key: &str, cursor: &str, names: &[String]) -> Result<Part> {
        let args = Args::timeless().value(key).value(cursor);
        let args = if cursor.is_empty() { names.iter().fold(args, Args::value) } else { args.value(PART) };
        let mut reply = self.ask(&script::VERIFY, args).await?;
        let (folds, last, cursor) = (reply.parse()?, reply.text()?, reply.text()?);
        let (mut found, mut meters) = (reply.list()?, Sums::new());
        while !found.is_empty() {
            meters.insert(limit_field(&found.text()?)?, found.parse()?);
        }
        Ok(Part { folds, last, cursor, meters })
    }

    /// Sums the entries up to one that is there.
    async fn read_up_to(&self, ledger: &mut Ledger, last: &str) -> Result<()> {
        while !last.is_empty() && ledger.last != last {
            let from = if ledger.last.is_empty() { "-".to_owned() } else { format!("({}", ledger.last) };
            let page = self.command("XRANGE", "entries", &[&from, last, "COUNT", ENTRIES]).await?;
            let mut page = Reply::of(page)?;
            if page.is_empty() {
                // It was folded; the next part tells.
                return Ok(());
            }
            while !page.is_empty() {
                let mut entry = page.list()?;
                ledger.last = entry.text()?;
                let moves: Vec<(String, i64, i64)> = entry.cells()?.json("moves")?.unwrap_or_default();
                for (field, delta, _) in moves {
                    let sum = ledger.sums.entry(limit_field(&field)?).or_default();
                    *sum = sum.saturating_add(delta);
                }
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// Adds what differs of some meters.
    fn compare(&self, meters: &Sums, different: &mut BTreeMap<(MeterKey, i64), Difference>) {
        let of = |at: &(MeterKey, i64)| (at.clone(), self.sums.get(at).copied().unwrap_or_default());
        let sums = meters.keys().map(of).collect();
        for difference in ledger::differences(meters, &sums) {
            different.insert((difference.key.clone(), difference.bucket), difference);
        }
    }
}
