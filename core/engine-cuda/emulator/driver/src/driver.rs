//! Devices, contexts, modules, launches, streams, events, graphs.

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    ptr::{null, without_provenance_mut},
    slice,
    sync::{Arc, Mutex},
    time::Instant,
};

use fer_engine_cuda::device::{Command, Device, DeviceError, Launch, Parameter};

use crate::{
    nvrtc::unit_of,
    state::{
        Answer, Function, INVALID_DEVICE, INVALID_HANDLE, INVALID_IMAGE, INVALID_VALUE, NOT_FOUND, NOT_READY, SUCCESS,
        State, WORDS, give, giving_back, inside, make_current, say, started, state,
    },
    work::{Event, Graph, Stream, Work},
};

/// Every kernel may have so many bytes of dynamic shared memory.
const SHARED_BY_DEFAULT: u32 = 48 << 10;

fn pointer(handle: usize) -> *mut c_void {
    without_provenance_mut(handle)
}

fn unknown(what: &str) -> u32 {
    say(INVALID_HANDLE, &format!("no {what} has this handle"))
}

fn word(
    number: u32,
    to: *mut *const c_char,
    which: impl Fn(&(u32, &'static CStr, &'static CStr)) -> *const c_char,
) -> u32 {
    let found = WORDS.iter().find(|words| words.0 == number);
    give(to, found.map_or(null(), which));
    if found.is_some() { SUCCESS } else { INVALID_VALUE }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorName(number: u32, to: *mut *const c_char) -> u32 {
    word(number, to, |words| words.1.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGetErrorString(number: u32, to: *mut *const c_char) -> u32 {
    word(number, to, |words| words.2.as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDriverGetVersion(to: *mut c_int) -> u32 {
    give(to, state().settings.version);
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> u32 {
    if flags != 0 {
        return say(INVALID_VALUE, "cuInit takes 0");
    }
    state().started = true;
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetCount(to: *mut c_int) -> u32 {
    started(|state| {
        give(to, state.settings.cards);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGet(to: *mut c_int, index: c_int) -> u32 {
    started(|state| {
        if !(0..state.settings.cards).contains(&index) {
            return Err(say(INVALID_DEVICE, &format!("there is no device {index}")));
        }
        give(to, index);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetName(to: *mut c_char, room: c_int, _device: c_int) -> u32 {
    started(|state| {
        let name = &state.device.info().name;
        if name.len() + 1 > room as usize {
            return Err(say(INVALID_VALUE, "there is no room for the name"));
        }
        // SAFETY: there is room for the name and a zero.
        unsafe {
            to.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), name.len());
            to.add(name.len()).write(0);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceTotalMem_v2(to: *mut usize, _device: c_int) -> u32 {
    started(|state| {
        give(to, state.device.info().total_memory);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDeviceGetAttribute(to: *mut c_int, attribute: c_uint, _device: c_int) -> u32 {
    started(|state| {
        let info = state.device.info();
        let number = match attribute {
            16 => info.multiprocessors,
            20 => 0,
            75 => info.capability.0,
            76 => info.capability.1,
            97 => info.shared_memory,
            _ => return Err(say(INVALID_VALUE, &format!("attribute {attribute} of a device is not known here"))),
        };
        give(to, number as c_int);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(to: *mut *mut c_void, _device: c_int) -> u32 {
    started(|state| {
        state.retained += 1;
        give(to, pointer(0x1000));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: c_int) -> u32 {
    started(|state| {
        let left = state.retained.checked_sub(1);
        state.retained = left.ok_or_else(|| say(INVALID_HANDLE, "the context is given back more often than taken"))?;
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> u32 {
    started(|_| {
        make_current(!context.is_null());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleLoadData(to: *mut *mut c_void, image: *const c_void) -> u32 {
    inside(|state| {
        // SAFETY: an image is what `nvrtcGetCUBIN` gave, which begins with its length, or something that does not begin like one.
        let unit = unsafe { unit_of(image.cast()) }.ok_or_else(|| say(INVALID_IMAGE, "these are no kernels"))?;
        let loaded = state.device.prepare(std::slice::from_ref(&unit));
        loaded.map_err(|error| state.refused(&error))?;
        let handle = state.handle();
        state.modules.insert(handle, unit);
        give(to, pointer(handle));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(module: *mut c_void) -> u32 {
    giving_back(|state| {
        state.functions.retain(|_, function| function.module != module.addr());
        state.modules.remove(&module.addr()).map(drop).ok_or_else(|| unknown("module"))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleGetFunction(to: *mut *mut c_void, module: *mut c_void, name: *const c_char) -> u32 {
    inside(|state| {
        // SAFETY: a text that ends with a zero.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        let unit = state.modules.get(&module.addr()).ok_or_else(|| unknown("module"))?.clone();
        let known = state.functions.iter().find(|(_, f)| f.module == module.addr() && *f.name == *name);
        let handle = match known.map(|(handle, _)| *handle) {
            Some(handle) => handle,
            None => {
                let declared = state.device.declared(&unit, &name).map_err(|error| state.refused(&error))?;
                // The driver's way to say that another module may have it.
                let parameters = declared.ok_or(NOT_FOUND)?;
                let handle = state.handle();
                let (module, name) = (module.addr(), name.into());
                let function = Function { module, unit, name, parameters, most_shared: SHARED_BY_DEFAULT };
                state.functions.insert(handle, function);
                handle
            }
        };
        give(to, pointer(handle));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncSetAttribute(function: *mut c_void, attribute: c_uint, value: c_int) -> u32 {
    inside(|state| {
        let most = state.device.info().shared_memory;
        let function = state.functions.get_mut(&function.addr()).ok_or_else(|| unknown("kernel"))?;
        match u32::try_from(value) {
            // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES.
            Ok(value) if attribute == 8 && value <= most => function.most_shared = value,
            _ => return Err(say(INVALID_VALUE, &format!("attribute {attribute} of a kernel is not to be {value}"))),
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuFuncGetParamInfo(function: *mut c_void, index: usize, offset: *mut usize, size: *mut usize) -> u32 {
    inside(|state| {
        let function = state.functions.get(&function.addr()).ok_or_else(|| unknown("kernel"))?;
        let parameter = function.parameters.get(index).ok_or(INVALID_VALUE)?;
        give(offset, 16 * index);
        give(size, parameter.bytes());
        Ok(())
    })
}

#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the driver's own")]
pub extern "C" fn cuLaunchKernel(
    function: *mut c_void,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: *mut c_void,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> u32 {
    inside(|state| {
        let function = state.functions.get(&function.addr()).ok_or_else(|| unknown("kernel"))?;
        if !extra.is_null() || shared > function.most_shared {
            let what =
                format!("{} may have {} bytes of shared memory, not {shared}", function.name, function.most_shared);
            return Err(say(INVALID_VALUE, &what));
        }
        // SAFETY: a pointer for each parameter, to as many bytes as it has.
        let parameters: Vec<Parameter<u64>> = unsafe {
            let of = |i: usize, bytes: usize| slice::from_raw_parts((*arguments.add(i)).cast::<u8>(), bytes);
            function.parameters.iter().enumerate().map(|(i, p)| p.parameter(of(i, p.bytes()))).collect()
        };
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let launch = Launch { kernel: function.name.clone(), grid, block, shared, parameters };
        let recorded = state.device.record(std::slice::from_ref(&function.unit), &[Command::Launch(launch)]);
        let recording = recorded.map_err(|error| match error {
            DeviceError::Failed { .. } => say(INVALID_VALUE, &error.to_string()),
            error => state.refused(&error),
        })?;
        state.ask(stream, Work::Launch(Arc::new(Mutex::new(recording))))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamCreate(to: *mut *mut c_void, _flags: c_uint) -> u32 {
    inside(|state| {
        let handle = state.handle();
        state.streams.insert(handle, Stream::default());
        give(to, pointer(handle));
        Ok(())
    })
}

/// The driver finishes a stream's work before it is gone.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> u32 {
    giving_back(|state| {
        state.stream(stream)?.may_be_waited_for()?;
        wait(state, stream.addr())?;
        state.streams.remove(&stream.addr());
        Ok(())
    })
}

fn wait(state: &mut State, stream: usize) -> Answer {
    state.until(|state| state.streams.get(&stream).is_none_or(Stream::is_done))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> u32 {
    inside(|state| {
        state.stream(stream)?.may_be_waited_for()?;
        wait(state, stream.addr())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) -> u32 {
    inside(|state| {
        let time = state.event(event)?.recorded;
        state.ask(stream, Work::Wait { event: event.addr(), time })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: *mut c_void, _mode: c_uint) -> u32 {
    inside(|state| state.stream(stream)?.begin_capture())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamEndCapture(stream: *mut c_void, to: *mut *mut c_void) -> u32 {
    inside(|state| {
        let works = state.stream(stream)?.end_capture()?;
        let handle = state.handle();
        state.graphs.insert(handle, works);
        give(to, pointer(handle));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: *mut c_void) -> u32 {
    giving_back(|state| state.graphs.remove(&graph.addr()).map(drop).ok_or_else(|| unknown("graph")))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphInstantiateWithFlags(to: *mut *mut c_void, graph: *mut c_void, flags: u64) -> u32 {
    inside(|state| {
        if flags != 0 {
            return Err(say(INVALID_VALUE, "a step is made ready without flags"));
        }
        let works = state.graphs.get(&graph.addr()).ok_or_else(|| unknown("graph"))?.clone();
        let handle = state.handle();
        state.executables.insert(handle, Arc::new(Graph(works)));
        give(to, pointer(handle));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphUpload(graph: *mut c_void, stream: *mut c_void) -> u32 {
    inside(|state| {
        state.stream(stream)?;
        state.executables.get(&graph.addr()).map(drop).ok_or_else(|| unknown("executable graph"))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(graph: *mut c_void, stream: *mut c_void) -> u32 {
    inside(|state| {
        let graph = state.executables.get(&graph.addr()).ok_or_else(|| unknown("executable graph"))?.clone();
        state.ask(stream, Work::Graph(graph))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(graph: *mut c_void) -> u32 {
    giving_back(|state| state.executables.remove(&graph.addr()).map(drop).ok_or_else(|| unknown("executable graph")))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventCreate(to: *mut *mut c_void, flags: c_uint) -> u32 {
    inside(|state| {
        let handle = state.handle();
        // CU_EVENT_DISABLE_TIMING.
        state.events.insert(handle, Event { timed: flags & 2 == 0, ..Event::default() });
        give(to, pointer(handle));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> u32 {
    giving_back(|state| state.events.remove(&event.addr()).map(drop).ok_or_else(|| unknown("event")))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> u32 {
    inside(|state| {
        state.stream(stream)?;
        let of = state.event(event)?;
        of.recorded += 1;
        let time = of.recorded;
        state.ask(stream, Work::Record { event: event.addr(), time })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: *mut c_void) -> u32 {
    inside(|state| {
        let time = state.event(event)?.recorded;
        state.until(|state| state.events.get(&event.addr()).is_none_or(|event| event.happened >= time))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventElapsedTime(to: *mut f32, start: *mut c_void, end: *mut c_void) -> u32 {
    inside(|state| {
        let mut at = |event: *mut c_void| -> Answer<Instant> {
            let event = state.event(event)?;
            if !event.timed || event.recorded == 0 {
                return Err(say(INVALID_HANDLE, "an event that does not know when it happened"));
            }
            event.at.filter(|_| event.happened == event.recorded).ok_or(NOT_READY)
        };
        let (start, end) = (at(start)?, at(end)?);
        give(to, end.saturating_duration_since(start).as_secs_f32() * 1e3);
        Ok(())
    })
}
