'''Browser tests: the screen in Chromium, in a real JupyterLab, with a real kernel.

A test asks for a fixture of ``conftest.py``; every test here is marked ``browser``. Nothing is started before a test asks.

| fixture | what |
|---|---|
| ``lab`` | JupyterLab as a user starts it |
| ``lab_behind_prefix`` | the same under ``/user/x/`` |
| ``lab_without_subshells`` | comm messages wait for the running cell |
| ``each_lab`` | the test runs in each of these three |
| ``scene_archive`` | a painted scene, 2048 pixels, 961 tiles, texture: ``.folder``, ``.imagery`` |
| ``banepa_archive`` | the real town by MobileNetV2: also ``.weights``; takes a minute, so mark the test ``slow`` |
| ``record`` | ``record("click_to_gallery_ms", 213.4)``; n, median and p95 end up in ``browser_figures.json`` |
| ``screenshots`` | folder for pictures; a test that fails leaves ``failed-NAME.png`` there |

A test reads like this::

    OPEN = """
    import workbench as wb
    bench = wb.Workbench(wb.open_archive({archive!r}), labels={labels!r})
    bench
    """

    def test_a_click_fills_the_gallery(lab, scene_archive, tmp_path, record):
        cell = OPEN.format(archive=str(scene_archive.folder), labels=str(tmp_path / "labels"))
        notebook = lab.open([cell, "import time; time.sleep(5)"])      # or theme="dark", or a Path to copy
        notebook.run(0)                                                # a cell that raises fails the test
        notebook.run(1, wait=False)                                    # the kernel is busy from here on
        card = notebook.output_area(0).locator(".card").first          # a Playwright locator
        ms = notebook.measure(card.click, "() => document.querySelectorAll('.card.hit').length === 24")
        record("click_to_gallery_ms", ms)
        assert notebook.kernel("len(bench.session.hits)") == 24        # in the same kernel, although it is busy
        notebook.screenshot("gallery")

``lab.open`` gives a `browser.notebook.Notebook`:

* cells: ``run(index)``, ``run_all()``, ``wait_for(index)``, ``runs(index)``, ``output(index)`` (text), ``output_area(index)``
  and ``cell(index)`` (locators), ``until("() => javascript")``, and ``page`` for the rest of Playwright. Outside the page,
  wait with ``expect(locator)`` of Playwright.
* kernel: ``kernel(code)`` runs code in the same kernel and gives the last expression's value (`browser.kernel.Kernel`);
  it goes neither through the page nor the server, and in a thread of its own unless ``main=True``. ``restart_kernel()``,
  ``kill_kernel()``, ``listening()`` (ports), ``watch_log()`` and ``logged("ERROR")``.
* page: ``save()``, ``reload()``, ``theme("dark")``, ``screenshot(name)``; 1280 x 720, left sidebar closed.
* figures: ``measure(action, until, start=...)`` in milliseconds of the page's own clock, from the input event's time
  stamp to the first animation frame in which the condition holds; ``watch_tiles()`` and ``tiles()`` (wanted, loaded,
  cancelled, ms of each); ``traffic()`` (bytes over web sockets).
* problems: an exception or error message in the page's console and a request to another machine fail the test in its
  teardown, unless ``expect_problem(pattern)`` named them. No name but localhost can be resolved in this Chromium.

Options: ``--figures FILE``, ``--screenshots FOLDER``, ``--archives FOLDER`` (keeps the archives between runs).

A widget that must answer while a cell runs has to say ``widget.comm._reply_subshell_for = None`` with ipykernel 7.4: it
otherwise sends what the page says to the shell in which the widget last spoke, which is the main one after each cell.
'''
