//! What a library says of its kernels, checked before anybody relies on it.

use fer_abi::{Attribute, Kernel, Launch, NamedAttribute, device, launch, property};

/// The most kernels of a library, the longest name, and the longest source.
const MOST: usize = 1000;
const LONGEST_NAME: usize = 128;
const LONGEST_SOURCE: usize = 1 << 20;
/// What a CUDA device allows.
const MOST_THREADS: u32 = 1024;

/// # Errors
/// A phrase that names the kernel and what is wrong with it.
pub(crate) fn check(kernels: &[Kernel]) -> Result<(), String> {
    if kernels.len() > MOST {
        return Err(format!("{} kernels, at most {MOST} are allowed", kernels.len()));
    }
    for (i, kernel) in kernels.iter().enumerate() {
        one(kernel).map_err(|reason| format!("kernel {} ({}): {reason}", i + 1, excerpt(kernel.op.as_bytes())))?;
        let same = |other: &&Kernel| {
            other.op == kernel.op
                && other.version == kernel.version
                && other.adjoint == kernel.adjoint
                && other.device == kernel.device
        };
        if kernels[..i].iter().any(|k| same(&k)) {
            return Err(format!("kernel {} ({}): given twice", i + 1, excerpt(kernel.op.as_bytes())));
        }
    }
    Ok(())
}

/// Kernels as a component's properties: so they cross from the child that asked for them, and need no library to be shown.
pub(crate) fn properties(kernels: &[Kernel]) -> impl Iterator<Item = NamedAttribute> {
    kernels.iter().map(|kernel| {
        let adjoint = if kernel.adjoint { "_vjp" } else { "" };
        let mut text = format!("{} {}{adjoint} {}", kernel.device, kernel.op, kernel.version);
        if let Some(launch) = kernel.launch.as_ref().into_option() {
            let Launch { each, threads } = launch;
            let bytes = kernel.source.len();
            text += &format!(": {}, for each {each}, blocks of {threads}, source of {bytes} bytes", kernel.entry);
        }
        NamedAttribute { name: property::KERNEL.into(), value: Attribute::Text(text.into()) }
    })
}

fn one(kernel: &Kernel) -> Result<(), String> {
    if !good_name(kernel.op.as_bytes(), b"._") {
        return Err("its op is not made of lower case letters, digits, _ and a dot".to_owned());
    }
    let (function, launch) = (kernel.function.is_some(), kernel.launch.as_ref().into_option());
    if kernel.device.as_bytes() == device::CPU.as_bytes() {
        return match (function, kernel.source.is_empty(), launch) {
            (true, true, None) => Ok(()),
            (false, ..) => Err("it is for the cpu and has no function".to_owned()),
            _ => Err("it is for the cpu and has source text or a launch".to_owned()),
        };
    }
    if kernel.device.as_bytes() != device::CUDA.as_bytes() {
        let known = [device::CPU, device::CUDA].join(", ");
        return Err(format!(
            "its device {} is not one that this host knows ({known})",
            excerpt(kernel.device.as_bytes())
        ));
    }
    if function {
        return Err("it is for cuda and has a function instead of source text".to_owned());
    }
    if kernel.source.len() > LONGEST_SOURCE {
        return Err(format!("its source has {} bytes, at most {LONGEST_SOURCE} are allowed", kernel.source.len()));
    }
    let Ok(source) = std::str::from_utf8(kernel.source.as_bytes()) else {
        return Err("its source is not UTF-8".to_owned());
    };
    if !good_name(kernel.entry.as_bytes(), b"_ABCDEFGHIJKLMNOPQRSTUVWXYZ") || !source.contains(kernel.entry.as_str()) {
        return Err(format!("its source has no function {}", excerpt(kernel.entry.as_bytes())));
    }
    let Some(launch) = launch else { return Err("it is for cuda and does not say how it is launched".to_owned()) };
    let known = [launch::ELEMENT, launch::ROW];
    if !known.iter().any(|word| word.as_bytes() == launch.each.as_bytes()) {
        let found = excerpt(launch.each.as_bytes());
        return Err(format!("it is launched for each {found}, this host knows {}", known.join(", ")));
    }
    match (1..=MOST_THREADS).contains(&launch.threads) {
        true => Ok(()),
        false => {
            Err(format!("it is launched with {} threads a block, 1 to {MOST_THREADS} are possible", launch.threads))
        }
    }
}

fn good_name(name: &[u8], besides: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || besides.contains(b))
}

/// Hostile bytes, short and printable.
fn excerpt(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]))
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::ROption;
    use fer_abi::{KernelCall, KernelFunction};

    use super::*;

    unsafe extern "C" fn nothing(_: *const KernelCall) -> i32 {
        0
    }

    fn cpu() -> Kernel {
        Kernel {
            op: "focal.terms".into(),
            version: 1,
            adjoint: false,
            device: "cpu".into(),
            function: ROption::RSome(KernelFunction { run: nothing }),
            source: "".into(),
            entry: "".into(),
            launch: ROption::RNone,
        }
    }

    fn cuda() -> Kernel {
        Kernel {
            device: "cuda".into(),
            function: ROption::RNone,
            source: "extern \"C\" __global__ void terms() {}".into(),
            entry: "terms".into(),
            launch: ROption::RSome(Launch { each: "element".into(), threads: 256 }),
            ..cpu()
        }
    }

    fn reason(kernel: Kernel, change: impl FnOnce(&mut Kernel)) -> String {
        let mut kernel = kernel;
        change(&mut kernel);
        check(&[kernel]).expect_err("a bad kernel")
    }

    #[test]
    fn good_kernels_pass() {
        assert_eq!(check(&[cpu(), cuda()]), Ok(()));
        let adjoint = Kernel { adjoint: true, ..cpu() };
        let texts: Vec<_> = properties(&[adjoint, cuda()]).map(|p| p.value).collect();
        let text = |text: &str| Attribute::Text(text.into());
        assert_eq!(
            texts,
            [
                text("cpu focal.terms_vjp 1"),
                text("cuda focal.terms 1: terms, for each element, blocks of 256, source of 36 bytes"),
            ]
        );
    }

    #[test]
    fn bad_kernels_are_refused() {
        for (reason, part) in [
            (check(&[cpu(), cpu()]).expect_err("twice"), "kernel 2 (\"focal.terms\"): given twice"),
            (reason(cpu(), |k| k.op = "\u{1b}".into()), "its op is not"),
            (
                reason(cpu(), |k| k.device = "tpu".into()),
                "its device \"tpu\" is not one that this host knows (cpu, cuda)",
            ),
            (reason(cpu(), |k| k.function = ROption::RNone), "has no function"),
            (reason(cpu(), |k| k.source = "x".into()), "has source text"),
            (reason(cuda(), |k| k.entry = "other".into()), "its source has no function \"other\""),
            (reason(cuda(), |k| k.source = "a".repeat(1 << 21).into()), "at most 1048576"),
            (reason(cuda(), |k| k.launch = ROption::RNone), "does not say how"),
            (
                reason(cuda(), |k| k.launch = ROption::RSome(Launch { each: "warp".into(), threads: 32 })),
                "for each \"warp\", this host knows element, row",
            ),
            (
                reason(cuda(), |k| k.launch = ROption::RSome(Launch { each: "row".into(), threads: 2000 })),
                "2000 threads",
            ),
        ] {
            assert!(reason.contains(part), "{reason}");
            assert!(!reason.contains('\n'), "{reason}");
        }
    }
}
