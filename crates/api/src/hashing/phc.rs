//! Argon2 hashes as PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;

use super::HashError;
use crate::config::Argon2Params;

/// The length of a hash, in bytes.
const HASH_LENGTH: usize = 32;

/// What a stored hash may ask for at most, in KiB: a damaged row must not take all memory.
const MOST_MEMORY_KIB: u32 = 1_048_576;

/// Memory times iterations of a stored hash: some seconds of one core.
const MOST_WORK: u64 = 8 * 1_048_576;

/// How many blocks room is made for at least: more than 32 MiB. As much glibc's allocator always takes from the system and
/// gives back; of anything smaller that was given back once it keeps the next for itself, beside what else it holds, and
/// every pause in the work would cost as much memory again. Room that is not written to takes none.
const LEAST_BLOCKS: usize = 33 * 1_024;

/// A hash that was read, ready to be compared with a password.
#[derive(Clone)]
pub(super) struct Phc {
    algorithm: Algorithm,
    version: Version,
    params: Params,
    salt: Salt,
    hash: Output,
}

impl Phc {
    /// `wanted` is what new hashes cost: as much is always allowed.
    pub(super) fn parse(text: &str, wanted: Argon2Params) -> Result<Self, HashError> {
        let PasswordHash { algorithm, version, params, salt, hash } =
            PasswordHash::new(text).map_err(HashError::Unreadable)?;
        let missing = || HashError::Unreadable(argon2::password_hash::phc::Error::MissingField);
        let (salt, hash) = (salt.ok_or_else(missing)?, hash.ok_or_else(missing)?);
        let read = Params::try_from(&params).map_err(|_| HashError::OutOfBounds)?;
        let algorithm = Algorithm::new(algorithm.as_str()).map_err(HashError::Argon2)?;
        let version = version.map_or(Ok(Version::V0x13), Version::try_from).map_err(HashError::Argon2)?;
        let work = |memory: u32, iterations: u32| u64::from(memory).saturating_mul(iterations.into());
        let most_work = MOST_WORK.max(work(wanted.memory_kib, wanted.iterations));
        if read.m_cost() > MOST_MEMORY_KIB
            || work(read.m_cost(), read.t_cost()) > most_work
            || read.p_cost() > 255
        {
            return Err(HashError::OutOfBounds);
        }
        let params = Params::new(read.m_cost(), read.t_cost(), read.p_cost(), Some(hash.len()))
            .map_err(HashError::Argon2)?;
        Ok(Self { algorithm, version, params, salt, hash })
    }

    /// A hash that no password is known for, of the cost that new hashes have.
    pub(super) fn of_nobody(params: Argon2Params) -> Result<Self, HashError> {
        let hash = Output::new(Salt::generate().as_ref()).map_err(HashError::Unreadable)?;
        // As long as a real one, so that the last step takes as long too.
        let hash =
            Output::new(&[hash.as_bytes(), hash.as_bytes()].concat()).map_err(HashError::Unreadable)?;
        Ok(Self {
            algorithm: Algorithm::Argon2id,
            version: Version::V0x13,
            params: to_params(params)?,
            salt: Salt::generate(),
            hash,
        })
    }

    pub(super) fn verify(&self, password: &[u8], memory: &mut Vec<Block>) -> Result<bool, HashError> {
        let mut computed = vec![0; self.hash.len()];
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        fill(&argon2, password, &self.salt, &mut computed, memory)?;
        Ok(computed.ct_eq(self.hash.as_bytes()).into())
    }

    pub(super) fn is_weaker_than(&self, wanted: Argon2Params) -> bool {
        self.params.m_cost() < wanted.memory_kib
            || self.params.t_cost() < wanted.iterations
            || self.algorithm != Algorithm::Argon2id
            || self.version != Version::V0x13
            || self.hash.len() < HASH_LENGTH
    }
}

/// Hashes a password with a new salt.
pub(super) fn hash(
    password: &[u8],
    wanted: Argon2Params,
    memory: &mut Vec<Block>,
) -> Result<String, HashError> {
    let params = to_params(wanted)?;
    let salt = Salt::generate();
    let mut computed = [0; HASH_LENGTH];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    fill(&argon2, password, &salt, &mut computed, memory)?;
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: (&params).try_into().map_err(|_| HashError::OutOfBounds)?,
        salt: Some(salt),
        hash: Some(Output::new(&computed).map_err(HashError::Unreadable)?),
    };
    Ok(phc.to_string())
}

fn fill(
    argon2: &Argon2<'_>,
    password: &[u8],
    salt: &Salt,
    out: &mut [u8],
    memory: &mut Vec<Block>,
) -> Result<(), HashError> {
    let blocks = argon2.params().block_count();
    if memory.len() < blocks {
        memory.reserve_exact(blocks.max(LEAST_BLOCKS) - memory.len());
        memory.resize(blocks, Block::new());
    }
    let memory = memory.get_mut(..blocks).unwrap_or_default();
    argon2.hash_password_into_with_memory(password, salt, out, memory).map_err(HashError::Argon2)
}

fn to_params(wanted: Argon2Params) -> Result<Params, HashError> {
    Params::new(wanted.memory_kib, wanted.iterations, wanted.parallelism, Some(HASH_LENGTH))
        .map_err(HashError::Argon2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_the_room_of_a_hash_is_one_that_goes_back_to_the_system() {
        let wanted = Argon2Params { memory_kib: 64, iterations: 1, parallelism: 1 };
        let mut memory = Vec::new();
        hash(b"pass", wanted, &mut memory).unwrap();
        assert!(memory.capacity() * size_of::<Block>() > 32 << 20, "{}", memory.capacity());
        assert_eq!(memory.len(), 64, "no more is written to than is needed");
    }
}
