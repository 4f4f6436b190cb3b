//! What streams do: in order each, and among each other as events say, at any time until somebody waits.

use std::{
    collections::VecDeque,
    ffi::c_void,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use fer_engine_cuda::device::{Address, Device, Recording};

use crate::{
    product::Product,
    state::{Answer, CAPTURE_UNSUPPORTED, INVALID_VALUE, LAUNCH_FAILED, State, UNKNOWN, say},
};

/// Something that a stream does. Addresses of the host are checked when they are given, and good until it is done.
#[derive(Clone)]
pub(crate) enum Work {
    Launch(Arc<Mutex<Box<dyn Recording>>>),
    Product(Arc<Product>),
    Copy {
        from: Address,
        to: Address,
        bytes: usize,
    },
    /// From pinned memory, read when it is done.
    Upload {
        from: usize,
        to: Address,
        bytes: usize,
    },
    /// From pageable memory, which was read when it was asked.
    Store {
        bytes: Arc<Vec<u8>>,
        to: Address,
    },
    Download {
        from: Address,
        to: usize,
        bytes: usize,
    },
    /// The event of this handle has happened for the n-th time.
    Record {
        event: usize,
        time: u64,
    },
    Wait {
        event: usize,
        time: u64,
    },
    Graph(Arc<Graph>),
}

/// A step that was captured and made ready.
pub(crate) struct Graph(pub(crate) Vec<Work>);

#[derive(Default)]
pub(crate) struct Stream {
    queue: VecDeque<Work>,
    /// What was asked since a capture began.
    capture: Option<Vec<Work>>,
}

impl Stream {
    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    pub(crate) fn is_done(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether something is still to be read from pinned memory that begins there.
    pub(crate) fn reads(&self, start: usize) -> bool {
        self.queue.iter().any(|work| matches!(work, Work::Upload { from, .. } if *from == start))
    }

    pub(crate) fn begin_capture(&mut self) -> Answer {
        match self.capture {
            Some(_) => Err(say(CAPTURE_UNSUPPORTED, "a capture within a capture")),
            None => {
                self.capture = Some(vec![]);
                Ok(())
            }
        }
    }

    pub(crate) fn end_capture(&mut self) -> Answer<Vec<Work>> {
        self.capture.take().ok_or_else(|| say(INVALID_VALUE, "a capture ends that did not begin"))
    }

    /// Nobody may wait for what is captured.
    pub(crate) fn may_be_waited_for(&self) -> Answer {
        match self.capture {
            Some(_) => Err(say(CAPTURE_UNSUPPORTED, "somebody waits for a stream that captures")),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
pub(crate) struct Event {
    pub(crate) timed: bool,
    /// How often it was recorded, and how often that has happened.
    pub(crate) recorded: u64,
    pub(crate) happened: u64,
    pub(crate) at: Option<Instant>,
}

impl State {
    /// Puts something at the end of a stream's work.
    pub(crate) fn ask(&mut self, stream: *mut c_void, work: Work) -> Answer {
        let stream = self.stream(stream)?;
        match (&mut stream.capture, &work) {
            (None, _) => stream.queue.push_back(work),
            (Some(capture), Work::Launch(_) | Work::Product(_) | Work::Copy { .. }) => capture.push(work),
            // A graph with these is possible, and not what the engine means.
            (Some(_), _) => return Err(say(CAPTURE_UNSUPPORTED, "a step has host memory, events or a step in it")),
        }
        Ok(())
    }

    /// As likely as not, something is done at once that could be done later.
    pub(crate) fn perhaps_go_on(&mut self) {
        while self.lost.is_none() && self.chance() & 1 == 0 {
            match self.go_on() {
                Ok(true) => {}
                // What failed is told to whoever asks next.
                Ok(false) | Err(_) => return,
            }
        }
    }

    /// Works until something holds.
    pub(crate) fn until(&mut self, holds: impl Fn(&State) -> bool) -> Answer {
        while !holds(self) {
            if !self.go_on()? {
                return Err(self.lose(LAUNCH_FAILED, "streams wait for each other for ever"));
            }
        }
        Ok(())
    }

    /// Waits for all streams.
    pub(crate) fn idle(&mut self) -> Answer {
        self.until(|state| state.streams.values().all(Stream::is_done))
    }

    /// Does the next of some stream's work; false where none has any that can be done.
    fn go_on(&mut self) -> Answer<bool> {
        let mut able: Vec<usize> = self.streams.iter().filter(|(_, s)| self.can_go_on(s)).map(|(h, _)| *h).collect();
        able.sort_unstable();
        if able.is_empty() {
            return Ok(false);
        }
        let chosen = able[(self.chance() % able.len() as u64) as usize];
        let Some(work) = self.streams.get_mut(&chosen).and_then(|stream| stream.queue.pop_front()) else {
            return Ok(false);
        };
        self.work(&work).map(|()| true)
    }

    fn can_go_on(&self, stream: &Stream) -> bool {
        match stream.queue.front() {
            None => false,
            // An event that was destroyed has happened: the driver keeps it until then.
            Some(Work::Wait { event, time }) => self.events.get(event).is_none_or(|e| e.happened >= *time),
            Some(_) => true,
        }
    }

    fn work(&mut self, work: &Work) -> Answer {
        let done = match work {
            Work::Launch(recording) => recording.lock().unwrap_or_else(PoisonError::into_inner).replay(),
            Work::Product(product) => product.run(&self.device),
            &Work::Copy { from, to, bytes } => self.device.fetch(from, to, bytes),
            &Work::Upload { from, to, bytes } => {
                let bytes = self.host(from, bytes)?;
                self.device.upload(to, &bytes)
            }
            Work::Store { bytes, to } => self.device.upload(*to, bytes),
            &Work::Download { from, to, bytes } => {
                // SAFETY: whoever asked promised that there is room until the stream was waited for.
                let to = unsafe { std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(to), bytes) };
                self.device.download(from, to)
            }
            &Work::Record { event, time } => {
                if let Some(event) = self.events.get_mut(&event) {
                    (event.happened, event.at) = (event.happened.max(time), Some(Instant::now()));
                }
                Ok(())
            }
            Work::Wait { .. } => Ok(()),
            Work::Graph(graph) => {
                if self.settings.lost_after.is_some_and(|most| self.steps >= most) {
                    return Err(self.lose(UNKNOWN, "the card was to be lost now"));
                }
                self.steps += 1;
                return graph.0.iter().try_for_each(|work| self.work(work));
            }
        };
        done.map_err(|error| self.refused(&error))
    }
}
