"""The extension of the component: TouchDesigner calls it, and it hands everything on."""

import td


class LightfastExt:
    """Joins this project to Lightfast. See the custom page of the component."""

    def __init__(self, ownerComp):
        self.ownerComp = ownerComp
        package = ownerComp.op("loader").module.from_dats(ownerComp.op("modules"))
        self.package = package
        component = __import__(package.__name__ + ".component", fromlist=["Component"])
        self.component = component.Component(td, ownerComp)

    def onDestroyTD(self):
        self.component.close()

    def __delTD__(self):
        self.component.close()

    def OnFrame(self):
        self.component.frame()

    def OnParameter(self, par):
        self.component.changed(par)

    def OnPulse(self, par):
        self.component.pulsed(par)

    def OnSaving(self):
        self.component.saving()

    def OnSaved(self):
        self.component.saved()

    def OnExit(self):
        self.component.close()
