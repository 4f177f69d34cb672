"""Where the base weights lie and in what form, and how a step is run on them: resident, quantised, streamed, captured."""
