"""The planner's answers as one page: self-contained HTML that loads nothing, to be read, hovered over and printed.

Pure but for :mod:`.assets`: :func:`.answers.ask` puts all questions to the history, :func:`.page.write` makes a page of
the answers. Everything else is one part of the page each: :mod:`.headline` is what matters, :mod:`.tables` and
:mod:`.charts` are the figures, :mod:`.trust` how far to trust them, :mod:`.definitions` what they mean. What is not
:class:`.markup.Html` is escaped wherever it goes, so that no name can be anything but text.
"""
