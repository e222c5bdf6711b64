//! Signals: handlers that are installed once, chain to earlier ones, and read or change the interrupted context.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

/// The signals that faults of compiled code raise.
const SIGNALS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

static EARLIER: OnceLock<io::Result<[libc::sigaction; 4]>> = OnceLock::new();

/// What is known of an interrupted instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// Where it is.
    pub(crate) pc: usize,
    /// The frame pointer.
    pub(crate) fp: usize,
    /// The stack pointer.
    pub(crate) sp: usize,
    /// The link register, where there is one.
    pub(crate) link: usize,
    /// The register in which the convention of wasm keeps the vmctx.
    pub(crate) vmctx: usize,
    /// The address of the access that faulted, if it was one.
    pub(crate) address: usize,
}

/// Where to go on instead: code that never returns to the fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resume {
    /// Its address.
    pub(crate) pc: usize,
    /// The stack pointer to go there with: with arguments as before a call, 16-aligned.
    pub(crate) sp: usize,
    /// Its arguments; without them all registers but the stack pointer stay as they are.
    pub(crate) arguments: Option<[usize; 5]>,
}

/// Decides whether a fault is ours.
type Decide = fn(Context) -> Option<Resume>;

static DECIDE: OnceLock<Decide> = OnceLock::new();

/// Installs the handlers, once in the process's life.
pub(crate) fn install(decide: Decide) -> io::Result<()> {
    DECIDE.get_or_init(|| decide);
    match EARLIER.get_or_init(install_all) {
        Ok(_) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

fn install_all() -> io::Result<[libc::sigaction; 4]> {
    // SAFETY: `sigaction` is plain data.
    let mut earlier: [libc::sigaction; 4] = unsafe { MaybeUninit::zeroed().assume_init() };
    for (signal, old) in SIGNALS.iter().zip(&mut earlier) {
        // SAFETY: the handler has the form that SA_SIGINFO asks for, and allocates and locks nothing.
        unsafe {
            let mut new: libc::sigaction = MaybeUninit::zeroed().assume_init();
            new.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
            new.sa_sigaction = handle as *const () as usize;
            libc::sigemptyset(&mut new.sa_mask);
            if libc::sigaction(*signal, &new, old) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(earlier)
}

unsafe extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a context that is valid during the handler, and we are the only ones to use it.
    let ucontext = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let mut context_of_fault = read(ucontext);
    // SAFETY: as above; the field is one that all of these signals fill.
    context_of_fault.address = unsafe { (*info).si_addr() } as usize;
    let resume = DECIDE.get().and_then(|decide| decide(context_of_fault));
    if let Some(resume) = resume {
        write(ucontext, resume);
        return;
    }
    // SAFETY: passes on what we were called with.
    unsafe { chain(signal, info, context) }
}

/// Hands a fault that is not ours to whoever was there before us.
unsafe fn chain(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let index = SIGNALS.iter().position(|s| *s == signal);
    let earlier = match (EARLIER.get(), index) {
        (Some(Ok(earlier)), Some(index)) => &earlier[index],
        // A fault of another thread while we are still installing: let it happen again.
        _ => return,
    };
    // SAFETY: the earlier action was read from the kernel; it is called in the form that its flags say.
    unsafe {
        match earlier.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                // The instruction faults again, and now by the default action.
                libc::sigaction(signal, earlier, ptr::null_mut());
            }
            handler if earlier.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: unsafe extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: unsafe extern "C" fn(i32) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn read(context: &libc::ucontext_t) -> Context {
    let registers = &context.uc_mcontext.gregs;
    Context {
        pc: registers[libc::REG_RIP as usize] as usize,
        fp: registers[libc::REG_RBP as usize] as usize,
        sp: registers[libc::REG_RSP as usize] as usize,
        link: 0,
        vmctx: registers[libc::REG_R15 as usize] as usize,
        address: 0,
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn write(context: &mut libc::ucontext_t, resume: Resume) {
    let registers = &mut context.uc_mcontext.gregs;
    registers[libc::REG_RIP as usize] = resume.pc as i64;
    let Some(arguments) = resume.arguments else {
        registers[libc::REG_RSP as usize] = resume.sp as i64;
        return;
    };
    // A function finds its stack pointer 8 below a multiple of 16, as after a call.
    registers[libc::REG_RSP as usize] = resume.sp as i64 - 8;
    let order = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_RCX, libc::REG_R8];
    for (register, value) in order.into_iter().zip(arguments) {
        registers[register as usize] = value as i64;
    }
    // The direction flag must be clear in the C convention.
    registers[libc::REG_EFL as usize] &= !0x400;
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn read(context: &libc::ucontext_t) -> Context {
    let machine = &context.uc_mcontext;
    Context {
        pc: machine.pc as usize,
        fp: machine.regs[29] as usize,
        sp: machine.sp as usize,
        link: machine.regs[30] as usize,
        vmctx: machine.regs[28] as usize,
        address: 0,
    }
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn write(context: &mut libc::ucontext_t, resume: Resume) {
    let machine = &mut context.uc_mcontext;
    machine.pc = resume.pc as u64;
    machine.sp = resume.sp as u64;
    for (register, value) in machine.regs.iter_mut().zip(resume.arguments.into_iter().flatten()) {
        *register = value as u64;
    }
}
