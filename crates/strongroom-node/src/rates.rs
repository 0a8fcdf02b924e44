//! How often a tenant's accounts, and the tenant as a whole, may ask.
//!
//! Fails closed: a rate of zero lets nothing through, and an account that there is no room to
//! remember is refused until there is. What an attacker controls: account names and the order of
//! requests, within what the tenant signs. A full table shuts out new accounts of *that* tenant
//! for at most a minute; accounts that are in it go on, and no other tenant notices.

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Accounts of one tenant remembered at once, about 150 bytes each.
pub const ACCOUNTS_MAX: usize = 200_000;

/// After so long without a request an account's quota, which is by the minute, is whole again:
/// forgetting it gives nothing away.
const WINDOW: Duration = Duration::from_secs(60);

/// A full table is searched for what may be forgotten no more often than this: else each refusal
/// would cost a walk through it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What a tenant of rate zero is told, seconds.
const NEVER_S: u64 = 3600;

/// On the system's monotonic clock. The default one reads the processor's features whenever it is
/// made, which in a virtual machine costs as much as a signature.
type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Instant>>;

fn limiter(quota: Quota) -> Limiter {
    RateLimiter::direct_with_clock(quota, MonotonicClock)
}

/// One tenant's rates.
pub struct Rates {
    account: Option<Quota>,
    tenant: Option<Limiter>,
    accounts_max: usize,
    names: RandomState,
    seats: Mutex<Seats>,
}

struct Seats {
    taken: HashMap<u64, Seat>,
    swept: Option<Instant>,
}

struct Seat {
    last: Instant,
    rate: Limiter,
}

impl Rates {
    /// `account` requests for each account and minute, `tenant` for all of them and second; at most
    /// `accounts_max` accounts at once.
    pub fn new(account: u32, tenant: u32, accounts_max: usize) -> Self {
        let tenant = NonZeroU32::new(tenant).map(Quota::per_second);
        Self {
            account: NonZeroU32::new(account).map(Quota::per_minute),
            tenant: tenant.map(limiter),
            accounts_max,
            names: RandomState::new(),
            seats: Mutex::new(Seats {
                taken: HashMap::new(),
                swept: None,
            }),
        }
    }

    /// Takes one request of an account.
    ///
    /// # Errors
    /// After how many seconds to come again.
    pub fn take(&self, subject: &str) -> Result<(), u64> {
        let (Some(account), Some(tenant)) = (self.account, &self.tenant) else {
            return Err(NEVER_S);
        };
        // The account first: one that asks too often must not use up what all share.
        self.take_account(subject, account)?;
        take(tenant)
    }

    fn take_account(&self, subject: &str, quota: Quota) -> Result<(), u64> {
        // Keyed anew in each process: nobody can name an account that shares another's seat.
        let name = self.names.hash_one(subject);
        let now = Instant::now();
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        if !seats.taken.contains_key(&name) && seats.taken.len() >= self.accounts_max {
            seats.sweep(now);
            if seats.taken.len() >= self.accounts_max {
                return Err(WINDOW.as_secs());
            }
        }
        let seat = seats.taken.entry(name).or_insert_with(|| Seat {
            last: now,
            rate: limiter(quota),
        });
        seat.last = now;
        take(&seat.rate)
    }

    /// Accounts remembered now.
    pub fn accounts(&self) -> usize {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.taken.len()
    }
}

impl Seats {
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|last| now - last < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.taken.retain(|_, seat| now - seat.last < WINDOW);
    }
}

fn take(rate: &Limiter) -> Result<(), u64> {
    rate.check().map_err(|not_until| {
        let wait = not_until.wait_time_from(MonotonicClock.now());
        wait.as_secs() + 1
    })
}

#[cfg(test)]
mod tests {
    use super::Rates;

    #[test]
    fn a_rate_of_zero_lets_nothing_through() {
        assert!(Rates::new(0, 10, 10).take("a").is_err());
        assert!(Rates::new(10, 0, 10).take("a").is_err());
        assert_eq!(Rates::new(1, 1, 10).take("a"), Ok(()));
    }

    #[test]
    fn an_account_over_its_rate_is_refused_and_takes_nothing_from_the_others() {
        let rates = Rates::new(3, 7, 10);
        for _ in 0..3 {
            assert_eq!(rates.take("greedy"), Ok(()));
        }
        for _ in 0..50 {
            let wait = rates.take("greedy").unwrap_err();
            assert!((1..=61).contains(&wait), "{wait}");
        }
        // Of the tenant's seven, three are gone, not fifty-three.
        assert_eq!(rates.take("b"), Ok(()));
        assert_eq!(rates.take("c"), Ok(()));
    }

    #[test]
    fn a_full_table_shuts_out_new_accounts_and_never_forgets_one_that_still_owes() {
        let rates = Rates::new(1, 1_000_000, 100);
        for number in 0..100 {
            assert_eq!(rates.take(&number.to_string()), Ok(()));
        }
        for number in 100..10_000 {
            assert!(rates.take(&number.to_string()).is_err(), "{number}");
        }
        assert_eq!(rates.accounts(), 100, "the table is bounded");
        // To fill the table is no way to a second request within the minute.
        assert!(rates.take("0").is_err());
    }
}
